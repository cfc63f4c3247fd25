// Learning-rate schedules as a pure function of the update counter, usable on host and device.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace accrue::kernels {

enum class ScheduleKind : std::int32_t { constant, linear, cosine, wsd };

struct ScheduleParameters {
  ScheduleKind kind = ScheduleKind::constant;
  double peak = 1e-3;       // learning rate after the warm-up
  double minimum = 0;       // where linear, cosine and wsd end
  std::int64_t warmup = 0;  // updates over which the rate rises linearly to the peak
  std::int64_t total = 0;   // updates of the whole run (not needed by constant)
  std::int64_t decay = 0;   // wsd: length of the final linear decay
};

// The learning rate of update u (0-based: u updates have been done before it).
// Warm-up: peak * (u + 1) / warmup for u < warmup. Then, with progress = (u - warmup) / (total - warmup) clamped to [0,
// 1]:
//   constant  peak
//   linear    peak + (minimum - peak) * progress
//   cosine    minimum + (peak - minimum) * (1 + cos(pi * progress)) / 2        (Loshchilov & Hutter, arXiv:1608.03983)
//   wsd       peak until total - decay, then linear to minimum at total         (warm-up, stable, decay:
//   arXiv:2404.06395)
ACCRUE_HOST_DEVICE inline double schedule_value(const ScheduleParameters& s, std::int64_t u) {
  if (u < s.warmup) return s.peak * static_cast<double>(u + 1) / static_cast<double>(s.warmup);
  const auto fraction = [](std::int64_t done, std::int64_t of) {
    if (of <= 0) return done >= 0 ? 1.0 : 0.0;
    const double f = static_cast<double>(done) / static_cast<double>(of);
    return f < 0 ? 0.0 : f > 1 ? 1.0 : f;
  };
  switch (s.kind) {
    case ScheduleKind::constant:
      return s.peak;
    case ScheduleKind::linear:
      return s.peak + (s.minimum - s.peak) * fraction(u - s.warmup, s.total - s.warmup);
    case ScheduleKind::cosine:
      return s.minimum + (s.peak - s.minimum) * 0.5 *
                             (1 + std::cos(3.14159265358979323846 * fraction(u - s.warmup, s.total - s.warmup)));
    case ScheduleKind::wsd:
      if (u < s.total - s.decay) return s.peak;
      return s.peak + (s.minimum - s.peak) * fraction(u - (s.total - s.decay), s.decay);
  }
  return s.peak;
}

}  // namespace accrue::kernels
