#include "kernels/layernorm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#ifndef ACCRUE_KERNELS_LAYERNORM_ONCE  // the file is compiled once per target, the type is common to all
#define ACCRUE_KERNELS_LAYERNORM_ONCE
namespace accrue::kernels::cpu {

// What the backward does with a part of the rows. sums: dgamma then dbeta, [2, cols], of this part alone; nullptr where
// nobody wants them. dx may be nullptr too.
struct BackwardPart {
  float* dx;
  Write write;
  float* sums;
  const float *dy, *x, *gamma, *mean, *rstd;
  std::int64_t rows, cols;
};

}  // namespace accrue::kernels::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layernorm_cpu.cpp"
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

void normalize_rows(float* y, float* mean, float* rstd, const float* x, const float* gamma, const float* beta,
                    std::int64_t rows, std::int64_t cols, float eps) {
  const std::int64_t together = rows_together(cols);
  for (std::int64_t first = 0; first < rows; first += together) {
    const std::int64_t count = std::min(together, rows - first);
    RowStatistics statistics[most_rows_together];
    statistics_of(statistics, x + first * cols, count, cols, eps);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t row = first + k;
      mean[row] = statistics[k].shift + statistics[k].rest;
      rstd[row] = statistics[k].rstd;
      normalize_row(y + row * cols, x + row * cols, gamma, beta, statistics[k], cols);
    }
  }
}

template <bool with_sums>
HWY_INLINE void backward_row_sums(const BackwardPart& part, std::int64_t row, float (&result)[2]) {
  const float *dy = part.dy + row * part.cols, *x = part.x + row * part.cols;
  const float mean = part.mean[row];
  const Floats center = hn::Set(F32(), mean), scale = hn::Set(F32(), part.rstd[row]);
  row_sums(part.cols, result, [&](std::int64_t i, auto access, auto& sums) HWY_ATTR {
    const Floats gradient = access.load(dy + i);
    const Floats normalized = hn::Mul(hn::Sub(access.load(x + i, mean), center), scale);
    if constexpr (with_sums) {
      float *dgamma = part.sums + i, *dbeta = part.sums + part.cols + i;
      access.store(hn::MulAdd(gradient, normalized, access.load(dgamma)), dgamma);
      access.store(hn::Add(access.load(dbeta), gradient), dbeta);
    }
    const Floats g = hn::Mul(gradient, access.load(part.gamma + i));
    sums[0] = hn::Add(sums[0], g);
    sums[1] = hn::MulAdd(g, normalized, sums[1]);
  });
}

// dx (+)= rstd (g - mean(g) - xhat mean(g xhat)), where sums = {sum of g, sum of g xhat}.
template <Write write>
HWY_INLINE void backward_row(const BackwardPart& part, std::int64_t row, const float (&sums)[2]) {
  const float *dy = part.dy + row * part.cols, *x = part.x + row * part.cols;
  float* dx = part.dx + row * part.cols;
  const float inverse = 1.0f / static_cast<float>(part.cols);
  const Floats center = hn::Set(F32(), part.mean[row]), scale = hn::Set(F32(), part.rstd[row]);
  const Floats mean_g = hn::Set(F32(), sums[0] * inverse), slope = hn::Set(F32(), sums[1] * inverse);
  over_vectors(part.cols, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats normalized = hn::Mul(hn::Sub(access.load(x + i), center), scale);
    const Floats g = hn::MulSub(access.load(dy + i), access.load(part.gamma + i), mean_g);
    Floats gradient = hn::Mul(hn::NegMulAdd(normalized, slope, g), scale);
    if constexpr (write == Write::accumulate) gradient = hn::Add(access.load(dx + i), gradient);
    access.store(gradient, dx + i);
  });
}

template <bool with_sums, Write write>
HWY_INLINE void backward_rows(const BackwardPart& part) {
  const std::int64_t together = rows_together(part.cols);
  for (std::int64_t first = 0; first < part.rows; first += together) {
    const std::int64_t count = std::min(together, part.rows - first);
    float sums[most_rows_together][2];
    for (std::int64_t k = 0; k < count; ++k) backward_row_sums<with_sums>(part, first + k, sums[k]);
    if (part.dx == nullptr) continue;
    for (std::int64_t k = 0; k < count; ++k) backward_row<write>(part, first + k, sums[k]);
  }
}

void backward_part(const BackwardPart& part) {
  const bool accumulate = part.write == Write::accumulate;
  if (part.sums == nullptr)
    return accumulate ? backward_rows<false, Write::accumulate>(part) : backward_rows<false, Write::overwrite>(part);
  for (std::int64_t i = 0; i < 2 * part.cols; ++i) part.sums[i] = 0;
  accumulate ? backward_rows<true, Write::accumulate>(part) : backward_rows<true, Write::overwrite>(part);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(normalize_rows);
HWY_EXPORT(backward_part);

void layernorm_forward(const LayerNormForward& op) {
  require_f32("layernorm_forward", {{"x", op.x}});
  const std::int64_t cols = op.x.shape().last();
  float *y = op.y.data<float>(), *mean = op.mean.data<float>(), *rstd = op.rstd.data<float>();
  const float *x = op.x.data<float>(), *gamma = op.gamma.data<float>(), *beta = op.beta.data<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, 8192 / cols);
  parallel_for(op.x.shape().rows(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(normalize_rows)
    (y + begin * cols, mean + begin, rstd + begin, x + begin * cols, gamma, beta, end - begin, cols, op.eps);
  });
}

void layernorm_backward(const LayerNormBackward& op) {
  require_f32("layernorm_backward", {{"x", op.x}});
  const std::int64_t cols = op.x.shape().last();
  const RowParts parts = RowParts::of(op.x.shape().rows(), cols);
  const bool with_sums = op.dgamma || op.dbeta;
  Tensor partial;
  if (with_sums) partial = Tensor::empty({parts.count(), 2 * cols}, DType::f32, op.x.device(), Category::workspace);
  float* sums = with_sums ? partial.data<float>() : nullptr;
  float* dx = op.dx ? op.dx.tensor.data<float>() : nullptr;
  const BackwardPart whole{.dx = dx,
                           .write = op.dx.write,
                           .sums = sums,
                           .dy = op.dy.data<float>(),
                           .x = op.x.data<float>(),
                           .gamma = op.gamma.data<float>(),
                           .mean = op.mean.data<float>(),
                           .rstd = op.rstd.data<float>(),
                           .rows = parts.rows,
                           .cols = cols};
  parallel_chunks(parts.rows, parts.rows_per_part, [&](std::int64_t index, std::int64_t begin, std::int64_t end) {
    BackwardPart part = whole;
    if (part.dx != nullptr) part.dx += begin * cols;
    if (part.sums != nullptr) part.sums += index * 2 * cols;
    part.dy += begin * cols, part.x += begin * cols;
    part.mean += begin, part.rstd += begin;
    part.rows = end - begin;
    HWY_DYNAMIC_DISPATCH(backward_part)(part);
  });
  if (op.dgamma) add_parts(op.dgamma, sums, parts.count(), 2 * cols);
  if (op.dbeta) add_parts(op.dbeta, sums + cols, parts.count(), 2 * cols);
}

}  // namespace accrue::kernels::cpu
#endif
