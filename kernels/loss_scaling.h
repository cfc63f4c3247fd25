// Loss scaling: what the loss's gradient is multiplied by, lest gradients in half precision vanish below its smallest
// number. A pure function of how windows ended, usable on host and device.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace accrue::kernels {

inline bool is_power_of_two(float x) {
  int exponent = 0;
  return std::isfinite(x) && std::frexp(x, &exponent) == 0.5f;
}

// Dynamic (Micikevicius et al., Mixed Precision Training, arXiv:1710.03740, section 3.2): the scale grows after
// `interval` windows in a row without overflow and falls with every overflow, between the bounds. Static: it stays.
// Scales and factors are powers of two, so that multiplying by one and dividing by it again changes no bit of a normal
// number (contract 13).
struct LossScaling {
  bool dynamic = false;
  float growth = 2;
  float backoff = 0.5f;
  float minimum = 1;
  float maximum = 0x1p24f;
  std::int64_t interval = 2000;  // windows

  // Where an overflow cannot be answered with a smaller scale.
  ACCRUE_HOST_DEVICE bool at_floor(float scale) const { return !dynamic || scale <= minimum; }
};

// The scale, and the windows without overflow since it last changed or a window overflowed.
struct ScaleState {
  float scale = 1;
  std::int64_t clean_windows = 0;
};

ACCRUE_HOST_DEVICE inline ScaleState after_clean_window(const LossScaling& scaling, ScaleState state) {
  if (!scaling.dynamic) return state;
  if (++state.clean_windows < scaling.interval) return state;
  const float grown = state.scale * scaling.growth;
  return {.scale = grown < scaling.maximum ? grown : scaling.maximum, .clean_windows = 0};
}

ACCRUE_HOST_DEVICE inline ScaleState after_overflow(const LossScaling& scaling, ScaleState state) {
  if (!scaling.dynamic) return state;
  const float smaller = state.scale * scaling.backoff;
  return {.scale = smaller > scaling.minimum ? smaller : scaling.minimum, .clean_windows = 0};
}

}  // namespace accrue::kernels
