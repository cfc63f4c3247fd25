// The nearest of several words, for "did you mean".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace accrue::train {

// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other (optimal string
// alignment).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The choice with the smallest edit distance to `word` (the first of several); empty if there are no choices.
std::string nearest(std::string_view word, const std::vector<std::string>& choices);

}  // namespace accrue::train
