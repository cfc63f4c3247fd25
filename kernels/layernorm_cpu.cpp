#include "kernels/layernorm.h"

#include <algorithm>

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

#include "kernels/cpu/layernorm_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void normalize_rows(const NormalizedRows& to, const float* x, std::int64_t begin, std::int64_t end) {
  const std::int64_t together = rows_together(to.cols);
  for (std::int64_t first = begin; first < end; first += together)
    normalize_together(to, x + first * to.cols, first, std::min(together, end - first));
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
  const NormalizedRows to = NormalizedRows::of(op);
  const float* x = op.x.data<float>();
  parallel_for(op.x.shape().rows(), normalized_rows_grain(to.cols), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(normalize_rows)(to, x, begin, end);
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
