#include "kernels/bias.h"
#include "kernels/cpu/column_sums.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bias_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void add_bias_rows(float* y, const float* x, const float* bias, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t row = 0; row < rows; ++row, x += cols, y += cols)
    over_vectors(cols, [&](std::int64_t i, auto access)
                           HWY_ATTR { access.store(hn::Add(access.load(x + i), access.load(bias + i)), y + i); });
}

// sums[c] = sum of dy[row, c]. Four rows at a time, so that the sums are read and written once for four rows.
void sum_rows(float* sums, const float* dy, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t c = 0; c < cols; ++c) sums[c] = 0;
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4, dy += 4 * cols)
    over_vectors(cols, [&](std::int64_t i, auto access) HWY_ATTR {
      const Floats first = hn::Add(access.load(dy + i), access.load(dy + cols + i));
      const Floats second = hn::Add(access.load(dy + 2 * cols + i), access.load(dy + 3 * cols + i));
      access.store(hn::Add(access.load(sums + i), hn::Add(first, second)), sums + i);
    });
  for (; row < rows; ++row, dy += cols)
    over_vectors(cols, [&](std::int64_t i, auto access)
                           HWY_ATTR { access.store(hn::Add(access.load(sums + i), access.load(dy + i)), sums + i); });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(add_bias_rows);
HWY_EXPORT(sum_rows);

void bias_forward(const BiasForward& op) {
  require_f32("bias_forward", {{"x", op.x}});
  const std::int64_t cols = op.x.shape().last();
  float* y = op.y.data<float>();
  const float *x = op.x.data<float>(), *bias = op.bias.data<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(cols, 1));
  parallel_for(op.x.shape().rows(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_bias_rows)(y + begin * cols, x + begin * cols, bias, end - begin, cols);
  });
}

void bias_backward(const BiasBackward& op) {
  require_f32("bias_backward", {{"dy", op.dy}});
  const std::int64_t cols = op.dy.shape().last();
  const RowParts parts = RowParts::of(op.dy.shape().rows(), cols);
  const Tensor partial = Tensor::empty({parts.count(), cols}, DType::f32, op.dy.device(), Category::workspace);
  float* sums = partial.data<float>();
  const float* dy = op.dy.data<float>();
  parallel_chunks(parts.rows, parts.rows_per_part, [&](std::int64_t part, std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(sum_rows)(sums + part * cols, dy + begin * cols, end - begin, cols);
  });
  add_parts(op.dbias, sums, parts.count(), cols);
}

}  // namespace accrue::kernels::cpu
#endif
