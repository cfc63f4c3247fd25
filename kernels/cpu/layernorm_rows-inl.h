// Layer normalisation of a few rows at a time, alone or behind the sum with a residual. Compiled once per instruction
// set; include after kernels/cpu/simd.h.
#ifndef ACCRUE_KERNELS_CPU_LAYERNORM_ONCE  // the type is common to all targets
#define ACCRUE_KERNELS_CPU_LAYERNORM_ONCE
#include <cstdint>

namespace accrue::kernels::cpu {

// Where the rows of a forward pass go, and what they are normalised with.
struct NormalizedRows {
  float *y, *mean, *rstd;
  const float *gamma, *beta;
  std::int64_t cols;
  float eps;

  template <class Arguments>
  static NormalizedRows of(const Arguments& op) {
    return {.y = op.y.template data<float>(),
            .mean = op.mean.template data<float>(),
            .rstd = op.rstd.template data<float>(),
            .gamma = op.gamma.template data<float>(),
            .beta = op.beta.template data<float>(),
            .cols = op.x.shape().last(),
            .eps = op.eps};
  }
};

// Rows that are worth a thread.
inline std::int64_t normalized_rows_grain(std::int64_t cols) { return cols < 8192 ? 8192 / cols : 1; }

}  // namespace accrue::kernels::cpu
#endif

#if defined(ACCRUE_KERNELS_CPU_LAYERNORM_PER_TARGET) == defined(HWY_TARGET_TOGGLE)
#ifdef ACCRUE_KERNELS_CPU_LAYERNORM_PER_TARGET
#undef ACCRUE_KERNELS_CPU_LAYERNORM_PER_TARGET
#else
#define ACCRUE_KERNELS_CPU_LAYERNORM_PER_TARGET
#endif

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// f(i, access, sums) adds the terms of one vector to `count` sums. Four vectors hold each sum, so that an addition need
// not wait for the one before; their order depends on n alone.
template <std::size_t count, class F>
HWY_INLINE void row_sums(std::int64_t n, float (&result)[count], F&& f) {
  const std::int64_t step = lanes();
  Floats sums[4][count];
  for (auto& sum : sums)
    for (Floats& part : sum) part = hn::Zero(F32());
  std::int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    f(i, WholeVector{}, sums[0]);
    f(i + step, WholeVector{}, sums[1]);
    f(i + 2 * step, WholeVector{}, sums[2]);
    f(i + 3 * step, WholeVector{}, sums[3]);
  }
  for (; i + step <= n; i += step) f(i, WholeVector{}, sums[0]);
  if (i < n) f(i, PartOfVector{n - i}, sums[1]);
  for (std::size_t k = 0; k < count; ++k)
    result[k] = sum_of_lanes(hn::Add(hn::Add(sums[0][k], sums[1][k]), hn::Add(sums[2][k], sums[3][k])));
}

// A few rows are taken through each step together, while they stay in the first-level cache: one row's sum is then in
// flight while the next one's is computed, instead of every step waiting for the one before.
constexpr std::int64_t most_rows_together = 8;
inline std::int64_t rows_together(std::int64_t cols) {
  return std::clamp<std::int64_t>(2048 / cols, 1, most_rows_together);
}

HWY_INLINE float sum_of(const float* x, std::int64_t cols) {
  float total[1];
  row_sums(cols, total,
           [&](std::int64_t i, auto access, auto& sums) HWY_ATTR { sums[0] = hn::Add(sums[0], access.load(x + i)); });
  return total[0];
}

// The sums of the deviations from `shift` and of their squares.
HWY_INLINE void moments_of(const float* x, std::int64_t cols, float shift, float (&moments)[2]) {
  const Floats center = hn::Set(F32(), shift);
  row_sums(cols, moments, [&](std::int64_t i, auto access, auto& sums) HWY_ATTR {
    const Floats deviation = hn::Sub(access.load(x + i, shift), center);
    sums[0] = hn::Add(sums[0], deviation);
    sums[1] = hn::MulAdd(deviation, deviation, sums[1]);
  });
}

struct RowStatistics {
  float shift;  // the mean, rounded by its summation
  float rest;   // mean - shift, a correction
  float rstd;
};

// Two passes: one-pass variance cancels when |mean| >> std. The second pass also sums the deviations themselves, which
// would be 0 for an exact mean: divided by n they tell how far the first pass was off, as much as n u |mean|.
HWY_INLINE void statistics_of(RowStatistics* statistics, const float* x, std::int64_t rows, std::int64_t cols,
                              float eps) {
  const float inverse = 1.0f / static_cast<float>(cols);
  float moments[most_rows_together][2];
  for (std::int64_t row = 0; row < rows; ++row) statistics[row].shift = sum_of(x + row * cols, cols) * inverse;
  for (std::int64_t row = 0; row < rows; ++row) moments_of(x + row * cols, cols, statistics[row].shift, moments[row]);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float rest = moments[row][0] * inverse;
    const float variance = moments[row][1] * inverse - rest * rest;
    statistics[row].rest = rest;
    // Not std::max, which would turn a NaN into 0.
    statistics[row].rstd = 1.0f / std::sqrt((variance < 0 ? 0 : variance) + eps);
  }
}

HWY_INLINE void normalize_row(float* y, const float* x, const float* gamma, const float* beta, const RowStatistics& s,
                              std::int64_t cols) {
  const Floats center = hn::Set(F32(), s.shift), scale = hn::Set(F32(), s.rstd);
  const Floats correction = hn::Set(F32(), -s.rest * s.rstd);
  over_vectors(cols, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats normalized = hn::MulAdd(hn::Sub(access.load(x + i), center), scale, correction);
    access.store(hn::MulAdd(normalized, access.load(gamma + i), access.load(beta + i)), y + i);
  });
}

// Normalises x's rows, at most most_rows_together, into the rows of the result from `first` on.
HWY_INLINE void normalize_together(const NormalizedRows& to, const float* x, std::int64_t first, std::int64_t count) {
  RowStatistics statistics[most_rows_together];
  statistics_of(statistics, x, count, to.cols, to.eps);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t row = first + k;
    to.mean[row] = statistics[k].shift + statistics[k].rest;
    to.rstd[row] = statistics[k].rstd;
    normalize_row(to.y + row * to.cols, x + k * to.cols, to.gamma, to.beta, statistics[k], to.cols);
  }
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
