#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "train/safetensors.h"
#include "train/safetensors_header.h"

#include <fmt/format.h>

namespace accrue::train {
namespace {

static_assert(std::endian::native == std::endian::little, "the format's values are used in place");

std::span<const std::uint8_t> header_of(std::span<const std::uint8_t> file, std::string_view name) {
  std::uint64_t length = 0;
  if (file.size() < sizeof(length))
    fail(ErrorKind::bad_data,
         "{}: truncated: a safetensors file starts with 8 bytes of header length, but this one has {}", name,
         file.size());
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > largest_safetensors_header)
    fail(ErrorKind::bad_data,
         "{}: header length {} is above the limit of {}; this is no safetensors file, or it is damaged", name, length,
         largest_safetensors_header);
  if (length > file.size() - sizeof(length))
    fail(ErrorKind::bad_data, "{}: truncated: the header has {} bytes, but only {} follow its length", name, length,
         file.size() - sizeof(length));
  const auto header = file.subspan(sizeof(length), length);
  if (header.empty()) fail(ErrorKind::bad_data, "{}: the header is empty; at least {{}} is needed", name);
  if (header.front() != '{')
    fail(ErrorKind::bad_data, "{}: the header must start with '{{', but starts with byte 0x{:02x}", name,
         header.front());
  // JSON allows other blanks behind the value; the format pads with spaces alone.
  const auto last = std::find_if(header.rbegin(), header.rend(), [](std::uint8_t byte) { return byte != ' '; });
  if (*last != '}')
    fail(ErrorKind::bad_data, "{}: the header must end with '}}' and spaces, but ends with byte 0x{:02x}", name, *last);
  return header;
}

SafetensorsEntry verified(RawSafetensorsEntry&& raw, std::span<const std::byte> data, std::string_view file) {
  const std::string name = printable(raw.name);
  const auto dtype = parse_safetensors_dtype(*raw.dtype);
  if (!dtype)
    fail(ErrorKind::bad_data, "{}: tensor '{}' has the unknown dtype '{}'", file, name, printable(*raw.dtype));
  std::vector<std::int64_t> extents;
  std::int64_t numel = 1;
  for (const std::uint64_t extent : *raw.shape) {
    if (extent > static_cast<std::uint64_t>(INT64_MAX) ||
        __builtin_mul_overflow(numel, static_cast<std::int64_t>(extent), &numel))
      fail(ErrorKind::bad_data, "{}: tensor '{}' has a shape [{}] whose number of elements does not fit 63 bits", file,
           name, fmt::join(*raw.shape, ", "));
    extents.push_back(static_cast<std::int64_t>(extent));
  }
  std::uint64_t size = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(numel), size_of(*dtype), &size))
    fail(ErrorKind::bad_data, "{}: tensor '{}' has a shape [{}] whose number of bytes does not fit 64 bits", file, name,
         fmt::join(*raw.shape, ", "));
  const std::uint64_t begin = (*raw.offsets)[0], end = (*raw.offsets)[1];
  if (begin > end)
    fail(ErrorKind::bad_data, "{}: tensor '{}' begins at byte {} after its end at {}", file, name, begin, end);
  if (end > data.size())
    fail(ErrorKind::bad_data, "{}: truncated: tensor '{}' ends at byte {}, but there are {} bytes of data", file, name,
         end, data.size());
  if (end - begin != size)
    fail(ErrorKind::bad_data, "{}: tensor '{}' has {} bytes, but {} [{}] needs {}", file, name, end - begin, *raw.dtype,
         fmt::join(*raw.shape, ", "), size);
  return {.name = std::move(raw.name), .dtype = *dtype, .shape = Shape(extents), .data = data.subspan(begin, size)};
}

// The entries, in the order of their bytes, must follow each other from the first byte of data to the last.
void require_cover(const std::vector<SafetensorsEntry>& entries, std::span<const std::byte> data,
                   std::string_view file) {
  std::size_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto begin = static_cast<std::size_t>(entry.data.data() - data.data());
    if (begin < covered)
      fail(ErrorKind::bad_data, "{}: tensor '{}' begins at byte {}, inside the tensor before it, which ends at {}",
           file, printable(entry.name), begin, covered);
    if (begin > covered)
      fail(ErrorKind::bad_data, "{}: bytes {} to {} before tensor '{}' belong to no tensor", file, covered, begin,
           printable(entry.name));
    covered += entry.data.size();
  }
  if (covered != data.size())
    fail(ErrorKind::bad_data, "{}: {} trailing bytes belong to no tensor", file, data.size() - covered);
}

template <class T>
void append_as_floats(std::span<const std::byte> bytes, std::vector<float>& out) {
  for (std::size_t offset = 0; offset < bytes.size(); offset += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));  // the bytes need not be aligned
    out.push_back(static_cast<float>(value));
  }
}

}  // namespace

SafetensorsIndex parse_safetensors(std::span<const std::uint8_t> file, std::string_view name) {
  const auto header = header_of(file, name);
  const auto data = std::as_bytes(file.subspan(sizeof(std::uint64_t) + header.size()));
  RawSafetensorsHeader raw_header = parse_safetensors_header(header, name);
  SafetensorsIndex index;
  index.metadata = std::move(raw_header.metadata);
  index.entries.reserve(raw_header.entries.size());
  for (RawSafetensorsEntry& raw : raw_header.entries) index.entries.push_back(verified(std::move(raw), data, name));
  // An empty tensor comes before the one that starts at the same byte, or it would seem to lie inside that one.
  std::stable_sort(index.entries.begin(), index.entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::pair(a.data.data(), a.data.size()) < std::pair(b.data.data(), b.data.size());
                   });
  require_cover(index.entries, data, name);
  index.by_name.resize(index.entries.size());
  std::iota(index.by_name.begin(), index.by_name.end(), std::size_t{0});
  std::sort(index.by_name.begin(), index.by_name.end(),
            [&](std::size_t a, std::size_t b) { return index.entries[a].name < index.entries[b].name; });
  return index;
}

const SafetensorsEntry* SafetensorsIndex::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name.begin(), by_name.end(), name,
                       [&](std::size_t position, std::string_view to) { return entries[position].name < to; });
  return found == by_name.end() || entries[*found].name != name ? nullptr : &entries[*found];
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), index_(file_.read_intact([&](auto bytes) { return parse_safetensors(bytes, path.string()); })) {}

const SafetensorsEntry& SafetensorsFile::get(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr)
    fail(ErrorKind::bad_data, "{}: has no tensor '{}' among its {}; it belongs to another model or program",
         file_.path().string(), name, index_.entries.size());
  return *entry;
}

std::vector<std::byte> copy_of_bytes(const SafetensorsEntry& entry) {
  std::vector<std::byte> bytes(entry.data.begin(), entry.data.end());
  require_intact(entry.data);
  return bytes;
}

std::vector<float> to_floats(const SafetensorsEntry& entry) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(entry.shape.numel()));
  switch (entry.dtype) {
    case SafetensorsDType::f64:
      append_as_floats<double>(entry.data, values);
      break;
    case SafetensorsDType::f32:
      append_as_floats<float>(entry.data, values);
      break;
    case SafetensorsDType::f16:
      append_as_floats<f16>(entry.data, values);
      break;
    case SafetensorsDType::bf16:
      append_as_floats<bf16>(entry.data, values);
      break;
    default:
      fail(ErrorKind::bad_data, "tensor '{}' has dtype {}, but a floating-point one (F64, F32, F16 or BF16) is needed",
           printable(entry.name), name_of(entry.dtype));
  }
  require_intact(entry.data);
  return values;
}

}  // namespace accrue::train
