// Numbers of bytes as people read them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace accrue {

std::string format_bytes(std::size_t bytes);  // "512 B", "35.2 MiB"

// A whole number of bytes, or of K, M, G, T (powers of 1000; KB, MB, … are the same) or KiB, MiB, GiB, TiB (powers of
// 1024), without spaces: "1500000000", "2GiB". nullopt for anything else, 0 and what does not fit 63 bits.
std::optional<std::size_t> parse_bytes(std::string_view text);

}  // namespace accrue
