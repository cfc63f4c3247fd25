#include "core/check.h"
#include "nn/gpt.h"

namespace accrue::nn {

void GptConfig::validate() const {
  // Far above any model there is, and low enough that no product of extents overflows and that layers which cannot fit
  // into memory are not built one by one before that shows.
  const auto in_range = [](std::int64_t value, std::int64_t largest, const char* option) {
    if (value < 1 || value > largest)
      fail(ErrorKind::usage, "{} must be in [1, {}], but is {}", option, largest, value);
  };
  in_range(vocabulary, 1 << 24, "--vocabulary");
  in_range(context, 1 << 24, "--context");
  in_range(layers, 10'000, "--layers");
  in_range(heads, 1 << 20, "--heads");
  in_range(width, 1 << 20, "--width");
  if (width % heads != 0) {
    const std::int64_t below = width / heads * heads, above = below + heads;
    if (below == 0)
      fail(ErrorKind::usage, "--width {} is not divisible by --heads {}; the smallest width is {}", width, heads,
           above);
    fail(ErrorKind::usage, "--width {} is not divisible by --heads {}; the nearest widths are {} and {}", width, heads,
         below, above);
  }
  if (!(dropout >= 0 && dropout < 1)) fail(ErrorKind::usage, "--dropout must be in [0, 1), but is {}", dropout);
}

}  // namespace accrue::nn
