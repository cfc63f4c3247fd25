// The one place where JSON from a file becomes a tree: config.json, state.json, lines of metrics.jsonl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

namespace accrue::train {

// A thousand times what Accrue writes.
inline constexpr std::size_t largest_json_file = 16 << 20;
// Objects and arrays inside each other. Accrue writes three.
inline constexpr int deepest_json = 32;

// All bytes that are allocated for a text, however briefly, with the tree, its end and errors, are at most this many
// for each of its bytes and a constant besides. The dearest text is "[0,0,…": two bytes make an element of an array
// that grows by doubling, and of the list with which nlohmann takes the tree apart.
inline constexpr std::size_t json_allocation_per_byte = 72;
inline constexpr std::size_t json_allocation_constant = 16 << 10;

// Parses an object; `name` stands for the text in errors. Throws Error(bad_data) for a text above largest_json_file,
// for what require_json_object() refuses (anything that is not exactly one object, nesting beyond deepest_json), for a
// key that appears twice in an object, and for a number that no double holds. Messages give the byte, counted from 1.
nlohmann::json parse_json_object(std::span<const std::uint8_t> text, std::string_view name);

// The same for a file. Throws Error(no_input) if it cannot be read.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace accrue::train
