#include "train/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/shape.h"
#include "train/json_syntax.h"

namespace accrue::train {
namespace {

// Receives the header's JSON piece by piece. A tree would silently keep the last of two equal keys, and its depth would
// be up to the file; here every value must be the one that the format has at its place.
class HeaderHandler {
 public:
  explicit HeaderHandler(std::string_view file) : file_(file) {}

  RawSafetensorsHeader header;

  // The interface that nlohmann::json::sax_parse calls.
  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_integer(std::int64_t) { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) { return unexpected("a number that is no 64-bit integer"); }
  bool binary(nlohmann::json::binary_t&) { return unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    if (place_ == Place::shape_values) {
      if (header.entries.back().shape->size() == Shape::max_rank)
        refuse("tensor '{}' has more than {} axes", printable(header.entries.back().name), Shape::max_rank);
      header.entries.back().shape->push_back(value);
    } else if (place_ == Place::offset_values) {
      if (header.entries.back().offsets->size() == 2)
        refuse("data_offsets of tensor '{}' has more than two numbers", printable(header.entries.back().name));
      header.entries.back().offsets->push_back(value);
    } else {
      return unexpected("a number");
    }
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::dtype) {
      header.entries.back().dtype = value;
      place_ = Place::tensor_key;
    } else if (place_ == Place::metadata_value) {
      header.metadata[metadata_key_] = value;
      place_ = Place::metadata_key;
    } else {
      return unexpected("a string");
    }
    return true;
  }

  bool start_object(std::size_t) {
    switch (place_) {
      case Place::start:
        place_ = Place::root_key;
        return true;
      case Place::metadata:
        place_ = Place::metadata_key;
        return true;
      case Place::tensor:
        place_ = Place::tensor_key;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool key(std::string& name) {
    if (place_ == Place::root_key) {
      if (!names_.insert(name).second) refuse("'{}' appears twice in the header", printable(name));
      if (name == "__metadata__") {
        place_ = Place::metadata;
      } else {
        header.entries.push_back({.name = name});
        place_ = Place::tensor;
      }
    } else if (place_ == Place::metadata_key) {
      if (header.metadata.contains(name)) refuse("'{}' appears twice in __metadata__", printable(name));
      metadata_key_ = name;
      place_ = Place::metadata_value;
    } else {
      tensor_key(name);
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::tensor_key) {
      const RawSafetensorsEntry& entry = header.entries.back();
      for (const auto& [field, present] :
           {std::pair("dtype", entry.dtype.has_value()), std::pair("shape", entry.shape.has_value()),
            std::pair("data_offsets", entry.offsets.has_value())})
        if (!present) refuse("tensor '{}' has no {}", printable(entry.name), field);
    }
    place_ = place_ == Place::root_key ? Place::end : Place::root_key;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ == Place::shape) {
      header.entries.back().shape.emplace();
      place_ = Place::shape_values;
    } else if (place_ == Place::offsets) {
      header.entries.back().offsets.emplace();
      place_ = Place::offset_values;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    if (place_ == Place::offset_values && header.entries.back().offsets->size() != 2)
      refuse("data_offsets of tensor '{}' must be two numbers, but has {}", printable(header.entries.back().name),
             header.entries.back().offsets->size());
    place_ = Place::tensor_key;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    // The syntax was verified before; nlohmann's own text is not shown, for it quotes the file.
    refuse("the header has a number beyond any double at its byte {}", position);
  }

 private:
  // Where in the header the parser stands: what the next event has to be.
  enum class Place {
    start,           // the root object
    root_key,        // a tensor's name, "__metadata__" or the root's end
    metadata,        // the object after "__metadata__"
    metadata_key,    // a key of it or its end
    metadata_value,  // the string after the key
    tensor,          // the object after a tensor's name
    tensor_key,      // "dtype", "shape", "data_offsets" or the object's end
    dtype,           // the string after "dtype"
    shape,           // the array after "shape"
    shape_values,    // an extent or the array's end
    offsets,         // the array after "data_offsets"
    offset_values,   // a number or the array's end
    end,             // nothing more
  };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::bad_data, "{}: {}", file_, fmt::format(format, std::forward<Args>(args)...));
  }

  void tensor_key(const std::string& name) {
    const RawSafetensorsEntry& entry = header.entries.back();
    const auto once = [&](bool present, Place next) {
      if (present) refuse("tensor '{}' has {} twice", printable(entry.name), name);
      place_ = next;
    };
    if (name == "dtype") {
      once(entry.dtype.has_value(), Place::dtype);
    } else if (name == "shape") {
      once(entry.shape.has_value(), Place::shape);
    } else if (name == "data_offsets") {
      once(entry.offsets.has_value(), Place::offsets);
    } else {
      refuse("tensor '{}' has the unknown field '{}'", printable(entry.name), printable(name));
    }
  }

  bool unexpected(const char* what) {
    switch (place_) {
      case Place::start:
        refuse("the header must be a JSON object, but is {}", what);
      case Place::metadata:
        refuse("__metadata__ must be an object of strings, but is {}", what);
      case Place::metadata_value:
        refuse("__metadata__ '{}' must be a string, but is {}", printable(metadata_key_), what);
      case Place::tensor:
        refuse("tensor '{}' must be an object, but is {}", printable(header.entries.back().name), what);
      case Place::dtype:
        refuse("dtype of tensor '{}' must be a string, but is {}", printable(header.entries.back().name), what);
      case Place::shape:
        refuse("shape of tensor '{}' must be an array, but is {}", printable(header.entries.back().name), what);
      case Place::shape_values:
        refuse("shape of tensor '{}' must hold non-negative integers, but holds {}",
               printable(header.entries.back().name), what);
      case Place::offsets:
        refuse("data_offsets of tensor '{}' must be an array, but is {}", printable(header.entries.back().name), what);
      case Place::offset_values:
        refuse("data_offsets of tensor '{}' must hold non-negative integers, but holds {}",
               printable(header.entries.back().name), what);
      default:
        refuse("the header has {} where a key is needed", what);
    }
  }

  std::string_view file_;
  Place place_ = Place::start;
  std::set<std::string> names_;
  std::string metadata_key_;
};

}  // namespace

RawSafetensorsHeader parse_safetensors_header(std::span<const std::uint8_t> json, std::string_view file) {
  require_json_object(json, fmt::format("{}: the header", file), safetensors_header_depth);
  HeaderHandler handler(file);
  nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  return std::move(handler.header);
}

}  // namespace accrue::train
