#include "tests/fuzz/mutations.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace accrue::fuzz {
namespace {

using Random = std::mt19937_64;

// In [0, count), for a count above 0.
std::size_t below(std::size_t count, Random& random) { return static_cast<std::size_t>(random() % count); }

// A place in the input, its end included.
std::ptrdiff_t place(const Input& input, Random& random) {
  return static_cast<std::ptrdiff_t>(below(input.size() + 1, random));
}

void flip_a_bit(Input& input, Random& random) {
  if (input.empty()) return;
  const std::size_t bit = below(8 * input.size(), random);
  input[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
}

void change_a_byte(Input& input, Random& random) {
  if (input.empty()) return;
  constexpr std::string_view often = "{}[]\",:\\-0.eE\n tfn\xff\x80";
  const bool chosen = random() % 2 == 0;
  input[below(input.size(), random)] =
      static_cast<std::uint8_t>(chosen ? often[below(often.size(), random)] : static_cast<char>(random()));
}

void cut_the_end(Input& input, Random& random) { input.resize(static_cast<std::size_t>(place(input, random))); }

void remove_a_range(Input& input, Random& random) {
  const auto [first, last] = std::minmax({place(input, random), place(input, random)});
  input.erase(input.begin() + first, input.begin() + std::min(last, first + 16));
}

void repeat_a_range(Input& input, Random& random) {
  const auto [first, last] = std::minmax({place(input, random), place(input, random)});
  const Input range(input.begin() + first, input.begin() + last);
  input.insert(input.begin() + place(input, random), range.begin(), range.end());
}

void insert_a_word(Input& input, Random& random) {
  constexpr auto words = std::to_array<std::string_view>({"0",
                                                          "-1",
                                                          "1e999",
                                                          "1e-999",
                                                          "2147483648",
                                                          "4294967296",
                                                          "9223372036854775807",
                                                          "9223372036854775808",
                                                          "18446744073709551615",
                                                          "18446744073709551616",
                                                          "0.5",
                                                          "-0",
                                                          "null",
                                                          "true",
                                                          "\"\"",
                                                          "[]",
                                                          "{}",
                                                          "\\u0000",
                                                          "\\ud800",
                                                          "\xef\xbb\xbf",
                                                          "\"NaN\""});
  const std::string_view word = words[below(words.size(), random)];
  input.insert(input.begin() + place(input, random), word.begin(), word.end());
}

void write_a_number(Input& input, Random& random) {
  constexpr auto numbers = std::to_array<std::uint64_t>({0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fffffff,
                                                         0x80000000, 0xffffffff, 0x100000000, 100'000'000,
                                                         0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff});
  const std::uint64_t number = numbers[below(numbers.size(), random)] + random() % 3 - 1;
  const std::size_t size = std::size_t{1} << below(4, random);
  if (input.size() < size) return;
  const std::size_t at = below(input.size() - size + 1, random);
  const bool big_endian = random() % 2 == 0;
  for (std::size_t i = 0; i < size; ++i)
    input[at + (big_endian ? size - 1 - i : i)] = static_cast<std::uint8_t>(number >> 8 * i);
}

void splice(Input& input, const std::vector<Input>& corpus, Random& random) {
  const Input& other = corpus[below(corpus.size(), random)];
  cut_the_end(input, random);
  input.insert(input.end(), other.begin() + place(other, random), other.end());
}

}  // namespace

Input mutated(const std::vector<Input>& corpus, std::size_t longest, Random& random) {
  constexpr auto changes = std::to_array({flip_a_bit, change_a_byte, change_a_byte, cut_the_end, remove_a_range,
                                          repeat_a_range, insert_a_word, write_a_number});
  Input input = corpus[below(corpus.size(), random)];
  for (std::size_t count = 1 + below(4, random); count > 0; --count) {
    const std::size_t change = below(changes.size() + 1, random);
    change == changes.size() ? splice(input, corpus, random) : changes[change](input, random);
    if (input.size() > longest) input.resize(longest);
  }
  return input;
}

}  // namespace accrue::fuzz
