#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/safetensors.h"

#include <fmt/format.h>

namespace accrue::train {
namespace {

constexpr std::size_t header_alignment = 8;

// The text as a JSON string with its quotes.
std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::internal, "SafetensorsWriter: names and metadata must be UTF-8, but one of {} bytes is not",
         text.size());
  }
}

}  // namespace

void SafetensorsWriter::add(Entry entry) {
  json_string(entry.name);  // fails now and not after an hour of training
  check(entry.name != "__metadata__", "SafetensorsWriter: '__metadata__' is reserved and cannot name a tensor");
  std::size_t size = 0;
  const bool fits = !__builtin_mul_overflow(static_cast<std::size_t>(entry.shape.numel()), size_of(entry.dtype), &size);
  check(fits && entry.size == size, "SafetensorsWriter: '{}' of dtype {} and shape {} does not have {} bytes",
        entry.name, name_of(entry.dtype), entry.shape, entry.size);
  check(names_.emplace(entry.name, entries_.size()).second, "SafetensorsWriter: '{}' is added twice", entry.name);
  entries_.push_back(std::move(entry));
}

void SafetensorsWriter::add(std::string name, SafetensorsDType dtype, const Shape& shape,
                            std::span<const std::byte> bytes) {
  add(Entry{
      .name = std::move(name), .dtype = dtype, .shape = shape, .size = bytes.size(), .bytes = bytes, .tensor = {}});
}

void SafetensorsWriter::add(std::string name, const Tensor& tensor) {
  add(Entry{.name = std::move(name),
            .dtype = to_safetensors_dtype(tensor.dtype()),
            .shape = tensor.shape(),
            .size = tensor.bytes(),
            .bytes = {},
            .tensor = tensor});
}

void SafetensorsWriter::add(std::string name, DType dtype, const Shape& shape, std::span<const std::byte> bytes) {
  add(std::move(name), to_safetensors_dtype(dtype), shape, bytes);
}

void SafetensorsWriter::metadata(std::string key, std::string value) {
  json_string(key);
  json_string(value);
  check(!metadata_.contains(key), "SafetensorsWriter: metadata '{}' is set twice", key);
  metadata_.emplace(std::move(key), std::move(value));
}

std::string SafetensorsWriter::header_of(std::span<const Entry* const> order) const {
  std::string text = "{";
  const auto separate = [&] {
    if (text.back() != '{') text += ',';
  };
  if (!metadata_.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata_) {
      separate();
      text += json_string(key) + ":" + json_string(value);
    }
    text += '}';
  }
  std::size_t offset = 0;
  for (const Entry* entry : order) {
    separate();
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_string(entry->name),
                        name_of(entry->dtype), fmt::join(entry->shape.extents(), ","), offset, offset + entry->size);
    offset += entry->size;
  }
  text += '}';
  text.resize((text.size() + header_alignment - 1) / header_alignment * header_alignment, ' ');
  return text;
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  write([&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

void SafetensorsWriter::write(const std::function<void(std::span<const std::byte>)>& sink) const {
  std::vector<const Entry*> order;
  for (const Entry& entry : entries_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const Entry* a, const Entry* b) { return size_of(a->dtype) > size_of(b->dtype); });
  const std::string header = header_of(order);
  const std::uint64_t length = header.size();
  check(length <= largest_safetensors_header,
        "SafetensorsWriter: a header of {} bytes is above the format's limit of {}", length,
        largest_safetensors_header);
  sink(std::as_bytes(std::span(&length, 1)));
  sink(std::as_bytes(std::span(header)));
  std::vector<std::byte> buffer;
  for (const Entry* entry : order) sink(entry->tensor.defined() ? entry->tensor.host_bytes(buffer) : entry->bytes);
}

}  // namespace accrue::train
