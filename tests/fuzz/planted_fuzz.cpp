// A parser that is wrong on purpose, to see that its faults are found: it allocates what a byte of the input asks for.
#include <vector>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  constexpr std::uint64_t limit = 4096;
  if (size < 2 || data[0] != 'A') return 0;
  parsed(limit, [&] { return std::vector<std::uint8_t>(std::size_t{data[1]} * 64); });
  return 0;
}
