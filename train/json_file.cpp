#include "train/json_file.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "train/json_syntax.h"
#include "train/mapped_file.h"
#include "train/printable.h"

namespace accrue::train {
namespace {

// An iterator whose position the builder sees: the parser tells of keys, but not of where they stand.
class CountedBytes {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = std::uint8_t;
  using difference_type = std::ptrdiff_t;
  using pointer = const std::uint8_t*;
  using reference = const std::uint8_t&;

  CountedBytes(const std::uint8_t* byte, std::size_t& position) : byte_(byte), position_(&position) {}
  reference operator*() const { return *byte_; }
  CountedBytes& operator++() {
    ++byte_, ++*position_;
    return *this;
  }
  CountedBytes operator++(int) {
    CountedBytes before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountedBytes& other) const { return byte_ == other.byte_; }
  bool operator!=(const CountedBytes& other) const { return byte_ != other.byte_; }

 private:
  const std::uint8_t* byte_;
  std::size_t* position_;
};

// Makes the tree from the parser's events; nlohmann's own builder keeps the last of two equal keys.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view name, const std::size_t& position) : name_(name), position_(position) {}

  nlohmann::json root;

  // The interface that nlohmann::json::sax_parse calls.
  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) { refuse("binary data is no JSON"); }
  bool start_object(std::size_t) { return open(nlohmann::json::value_t::object); }
  bool start_array(std::size_t) { return open(nlohmann::json::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    auto& members = open_.back()->get_ref<nlohmann::json::object_t&>();
    const auto [member, is_new] = members.try_emplace(std::move(name));
    if (!is_new) refuse(fmt::format("the key '{}' appears twice in one object", printable(member->first)));
    value_ = &member->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    constexpr int number_overflow = 406;  // the syntax was verified before
    refuse(error.id == number_overflow ? "a number is too large for a double" : "the parser refuses the text");
  }

 private:
  template <class Value>
  bool add(Value&& value) {
    place() = std::forward<Value>(value);
    return true;
  }

  bool open(nlohmann::json::value_t type) {
    nlohmann::json& value = place();
    value = type;
    open_.push_back(&value);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  // Where the next value goes. Only the innermost array grows, so the places of the open ones stay.
  nlohmann::json& place() {
    if (open_.empty()) return root;
    nlohmann::json& parent = *open_.back();
    return parent.is_array() ? parent.emplace_back() : *value_;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorKind::bad_data, "{}: near byte {}: {}", name_, position_, what);
  }

  std::string_view name_;
  const std::size_t& position_;
  std::vector<nlohmann::json*> open_;
  nlohmann::json* value_ = nullptr;  // of the last key of the innermost object
};

}  // namespace

nlohmann::json parse_json_object(std::span<const std::uint8_t> text, std::string_view name) {
  if (text.size() > largest_json_file)
    fail(ErrorKind::bad_data, "{}: has {} bytes, above the limit of {} for a JSON file; it is not one of Accrue's",
         name, text.size(), largest_json_file);
  require_json_object(text, fmt::format("{}:", name), deepest_json);
  std::size_t position = 0;
  TreeBuilder builder(name, position);
  const std::uint8_t* const first = text.data();
  nlohmann::json::sax_parse(CountedBytes(first, position), CountedBytes(first + text.size(), position), &builder);
  return std::move(builder.root);
}

nlohmann::json read_json(const std::filesystem::path& path) {
  const MappedFile file(path);
  return file.read_intact([&](auto bytes) { return parse_json_object(bytes, path.string()); });
}

}  // namespace accrue::train
