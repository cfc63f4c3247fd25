// The JSON header of a safetensors file, as it stands there: the reader verifies what it says against the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

// Parses the JSON text alone; `file` names the file in errors. Throws Error(bad_data) for text that is not JSON, for
// duplicate or unknown keys, missing fields, and values of another type than the format has at their place.
RawSafetensorsHeader parse_safetensors_header(std::span<const std::uint8_t> json, std::string_view file);

// Text of a hostile file for an error message: short, and without control characters that would steer the terminal.
std::string printable(std::string_view text);

}  // namespace accrue::train
