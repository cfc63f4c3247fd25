// JSON text (RFC 8259) verified before anything is made of it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace accrue::train {

// Objects and arrays inside each other; the checker keeps a bit for each.
inline constexpr int deepest_json_nesting = 64;

// No number of a file of ours has a tenth of it; nlohmann's errors quote a number whole.
inline constexpr std::size_t longest_json_number = 100;

// Throws Error(bad_data) unless the text is one JSON object and nothing else but blanks, with at most `depth` (up to
// deepest_json_nesting) objects and arrays inside each other, numbers of at most longest_json_number characters, and
// strings of UTF-8. The message starts with `subject`, which says whose text it is ("state.json:"), and gives the byte,
// counted from 1, and what is wrong there. Allocates nothing unless it throws.
//
// Why not leave it to nlohmann's parser, which then reads the same text: that takes a zero byte for the end of the
// text, skips a byte order mark, and copies what it has read into its errors several times, with eight characters for a
// control character.
void require_json_object(std::span<const std::uint8_t> text, std::string_view subject, int depth);

}  // namespace accrue::train
