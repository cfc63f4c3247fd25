// The JSON header of a safetensors file, as it stands there: the reader verifies what it says against the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "train/printable.h"

namespace accrue::train {

// What the header says of one tensor. Each field is present after parse_safetensors_header.
struct RawSafetensorsEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

struct RawSafetensorsHeader {
  std::vector<RawSafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

// The header's object, a tensor's or the metadata's, and a tensor's shape or offsets in it are three. One more is read,
// so that the message says where it stands.
inline constexpr int safetensors_header_depth = 4;

// Parses the JSON text alone; `file` names the file in errors. Throws Error(bad_data) for text that
// require_json_object() refuses, for duplicate or unknown keys, missing fields, and values of another type than the
// format has at their place.
RawSafetensorsHeader parse_safetensors_header(std::span<const std::uint8_t> json, std::string_view file);

}  // namespace accrue::train
