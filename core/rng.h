// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011). A number is a pure function of its key and counter, so the same mask comes out under any split of a
// window, any recomputation, retry or resume, on any device and number of threads.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace accrue {

using Philox4 = std::array<std::uint32_t, 4>;

ACCRUE_HOST_DEVICE inline Philox4 philox4x32(Philox4 counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// Uniform in [0, 1): the upper 24 bits, each value exactly representable.
ACCRUE_HOST_DEVICE inline float uniform(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// Standard normal by Box-Muller from two words (in double: initial weights should not depend on a libm's float
// routines).
inline float normal(std::uint32_t bits0, std::uint32_t bits1) {
  constexpr double two_pi = 6.283185307179586;
  const double radius_uniform = (static_cast<double>(bits0) + 1.0) * 0x1p-32;  // (0, 1]: the logarithm is finite
  return static_cast<float>(std::sqrt(-2.0 * std::log(radius_uniform)) * std::cos(two_pi * bits1 * 0x1p-32));
}

// Which random numbers a micro-batch sees (contract 21): element e of a sample draws word e % 4 of
// philox4x32({e / 4, sample's index in the window, window, site}, seed), where a site is one dropout of the model.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t window = 0;
  std::uint32_t first_sample = 0;  // index in the window of the micro-batch's sample 0
};

ACCRUE_HOST_DEVICE inline Philox4 sample_random(const RandomKey& key, std::uint32_t site, std::uint32_t sample,
                                                std::uint32_t element_quad) {
  return philox4x32({element_quad, key.first_sample + sample, key.window, site}, key.seed);
}

}  // namespace accrue
