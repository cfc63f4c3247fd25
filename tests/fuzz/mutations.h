// Simple changes of inputs, for the driver that needs no libFuzzer.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace accrue::fuzz {

using Input = std::vector<std::uint8_t>;

// One to four changes of one of the inputs, drawn from `random`: flipped bits, other bytes, cuts, repeated ranges,
// numbers at the edges of their types in binary and decimal, the end of another input. At most `longest` bytes.
Input mutated(const std::vector<Input>& corpus, std::size_t longest, std::mt19937_64& random);

}  // namespace accrue::fuzz
