// The decision that every backend makes from a random word: which elements dropout keeps.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace accrue::kernels {

struct DropoutMask {
  std::int32_t threshold;  // an element is kept when the upper 24 bits of its word are above this
  float scale;             // 1 / (1 - p), of the elements kept

  // uniform(word) >= p in integers: p * 2^24 is exact, and a whole number is at least that when it is above the one
  // below.
  static DropoutMask of(float p) {
    return {.threshold = static_cast<std::int32_t>(std::ceil(static_cast<double>(p) * 0x1p24)) - 1,
            .scale = 1.0f / (1.0f - p)};
  }

  ACCRUE_HOST_DEVICE bool keeps(std::uint32_t word) const { return static_cast<std::int32_t>(word >> 8) > threshold; }
};

}  // namespace accrue::kernels
