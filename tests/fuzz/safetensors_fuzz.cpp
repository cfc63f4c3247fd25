// A safetensors file: what is accepted lies inside the file, and survives being written and read again.
#include <cmath>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "train/safetensors.h"

namespace accrue::fuzz {
namespace {

using namespace accrue::train;

std::uint64_t allocation_limit(Bytes file) {
  std::uint64_t header = 0;
  if (file.size() >= sizeof(header)) std::memcpy(&header, file.data(), sizeof(header));
  header = std::min<std::uint64_t>(header, file.size());
  return safetensors_allocation_per_byte * header + safetensors_allocation_constant;
}

void require_inside(const SafetensorsIndex& index, Bytes file) {
  std::size_t covered = 0;
  for (const SafetensorsEntry& entry : index.entries) {
    const auto* const begin = reinterpret_cast<const std::uint8_t*>(entry.data.data());
    require(begin >= file.data() && begin + entry.data.size() <= file.data() + file.size(),
            "an entry outside the file");
    require(entry.data.size() == static_cast<std::size_t>(entry.shape.numel()) * size_of(entry.dtype),
            "an entry of another size than its dtype and shape");
    covered += entry.data.size();
  }
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  require(sizeof(header) + header + covered == file.size(), "entries that do not cover the file");
}

void require_floats(const SafetensorsEntry& entry) {
  const std::uint64_t limit = sizeof(float) * static_cast<std::uint64_t>(entry.shape.numel()) + 1024;
  const auto floats = parsed(limit, [&] { return to_floats(entry); });
  require(floats.has_value() == is_float(entry.dtype), "to_floats and is_float disagree about a dtype");
  require(!floats || floats->size() == static_cast<std::size_t>(entry.shape.numel()), "not all elements as floats");
}

std::vector<std::uint8_t> written(const SafetensorsIndex& index) {
  SafetensorsWriter writer;
  for (const auto& [key, value] : index.metadata) writer.metadata(key, value);
  for (const SafetensorsEntry& entry : index.entries) writer.add(entry.name, entry.dtype, entry.shape, entry.data);
  std::vector<std::uint8_t> file;
  writer.write([&](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) file.push_back(std::to_integer<std::uint8_t>(byte));
  });
  return file;
}

void require_same(const SafetensorsIndex& index, const SafetensorsFile& again) {
  require(again.metadata() == index.metadata, "metadata that changes when written");
  require(again.entries().size() == index.entries.size(), "entries that are lost when written");
  for (const SafetensorsEntry& entry : index.entries) {
    const SafetensorsEntry* const other = again.find(entry.name);
    require(index.find(entry.name) == &entry, "an entry that its name does not find");
    require(other != nullptr && other->dtype == entry.dtype && other->shape == entry.shape &&
                std::equal(entry.data.begin(), entry.data.end(), other->data.begin(), other->data.end()),
            "an entry that changes when written");
  }
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  const Bytes file(data, size);
  const auto index = parsed(allocation_limit(file), [&] { return accrue::train::parse_safetensors(file, "input"); });
  if (!index) return 0;
  require_inside(*index, file);
  for (const auto& entry : index->entries) require_floats(entry);
  const MemoryFile copy(written(*index));
  require_same(*index, accrue::train::SafetensorsFile(copy.path()));
  return 0;
}
