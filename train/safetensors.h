// Tensors in a file: a strict reader and a durable writer of the safetensors format
// (https://github.com/huggingface/safetensors): an 8-byte little-endian header length, a JSON header that gives every
// tensor's dtype, shape and byte range, then the tensors' bytes back to back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "train/mapped_file.h"

namespace accrue::train {

// The format's element types. More than accrue::DType has: files also hold counters (I64, U64), masks and indices.
enum class SafetensorsDType : std::uint8_t { f64, f32, f16, bf16, i64, u64, i32, u32, i16, i8, u8, boolean };

std::string_view name_of(SafetensorsDType dtype);  // "F32", "BOOL", …
std::size_t size_of(SafetensorsDType dtype);       // bytes of an element
std::optional<SafetensorsDType> parse_safetensors_dtype(std::string_view name);
SafetensorsDType to_safetensors_dtype(DType dtype);
bool is_float(SafetensorsDType dtype);  // F64, F32, F16, BF16: what to_floats() reads

// One tensor of a file; its bytes live as long as the file's.
struct SafetensorsEntry {
  std::string name;
  SafetensorsDType dtype = SafetensorsDType::f32;
  Shape shape;
  std::span<const std::byte> data;  // row-major, little-endian; aligned only when the writer was careful

  std::span<const std::byte> bytes() const { return data; }
};

// The header's content. Entries are in the order of their bytes.
struct SafetensorsIndex {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  std::vector<std::size_t> by_name;  // positions of the entries in the order of their names

  // Null when there is no tensor of that name.
  const SafetensorsEntry* find(std::string_view name) const;
};

// Headers above this size are refused, as in the reference implementation.
inline constexpr std::uint64_t largest_safetensors_header = 100'000'000;

// All bytes that parse_safetensors() allocates, however briefly, are at most this many for each byte of the header and
// a constant besides. The tensors' bytes stay where they are; to_floats() allocates 4 bytes an element, of which the
// file has 2 or more.
inline constexpr std::size_t safetensors_allocation_per_byte = 24;
inline constexpr std::size_t safetensors_allocation_constant = 16 << 10;

// Parses the bytes of a whole file, which must outlive the index; `name` stands for it in errors. Throws
// Error(bad_data) unless the header is exactly what the format defines, without duplicate or unknown keys, every byte
// range has the size of its dtype and shape, and the ranges cover the data without overlap, hole or trailing byte.
SafetensorsIndex parse_safetensors(std::span<const std::uint8_t> file, std::string_view name);

// A mapped file and its index.
class SafetensorsFile {
 public:
  // Throws Error(no_input) when the file cannot be mapped, Error(bad_data) as parse_safetensors does. The bytes of the
  // entries are still in the file: copy_of_bytes() and to_floats() notice when it does not stay whole.
  explicit SafetensorsFile(const std::filesystem::path& path);

  std::span<const SafetensorsEntry> entries() const { return index_.entries; }
  const std::map<std::string, std::string>& metadata() const { return index_.metadata; }
  // Null when there is no tensor of that name.
  const SafetensorsEntry* find(std::string_view name) const { return index_.find(name); }
  // Throws Error(bad_data) naming the file when there is no tensor of that name.
  const SafetensorsEntry& get(std::string_view name) const;

 private:
  MappedFile file_;
  SafetensorsIndex index_;
};

// The tensor's bytes in memory of their own. Throws Error(bad_data) if their file did not stay whole (mapped_file.h).
std::vector<std::byte> copy_of_bytes(const SafetensorsEntry& entry);
// The elements of an F64 (rounded to nearest), F32, F16 or BF16 tensor. Throws Error(bad_data) for another dtype, or if
// their file did not stay whole.
std::vector<float> to_floats(const SafetensorsEntry& entry);

// Collects tensors, then writes them in one go. Larger element types come first, so that every tensor is aligned to its
// element size in the file; otherwise the order is that of the calls.
class SafetensorsWriter {
 public:
  // The bytes are not copied and must stay until write(). Throws Error(internal) for a name used twice, a reserved
  // name, a name that is not UTF-8, and bytes that are not shape.numel() elements.
  void add(std::string name, SafetensorsDType dtype, const Shape& shape, std::span<const std::byte> bytes);
  void add(std::string name, DType dtype, const Shape& shape, std::span<const std::byte> bytes);
  // A tensor of any device; it comes to the host when it is written, one at a time.
  void add(std::string name, const accrue::Tensor& tensor);
  // A string that the header carries. Throws Error(internal) for a key used twice or text that is not UTF-8.
  void metadata(std::string key, std::string value);

  // Writes "<path>.tmp", makes it durable and renames it to `path`: readers see the old file or the new one. Throws
  // Error(cannot_create) when the temporary cannot be opened and Error(io) when writing fails; `path` is then untouched
  // and the temporary removed.
  void write(const std::filesystem::path& path) const;
  // The same bytes into a sink, piece by piece.
  void write(const std::function<void(std::span<const std::byte>)>& sink) const;

 private:
  struct Entry {
    std::string name;
    SafetensorsDType dtype;
    Shape shape;
    std::size_t size;                  // bytes
    std::span<const std::byte> bytes;  // where the caller has them
    accrue::Tensor tensor;             // or the tensor that has them
  };
  void add(Entry entry);
  std::string header_of(std::span<const Entry* const> order) const;

  std::vector<Entry> entries_;
  std::map<std::string, std::size_t, std::less<>> names_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace accrue::train
