#include "kernels/residual_layernorm.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/residual_layernorm_cpu.cpp"
#include "kernels/cpu/simd.h"

#include "kernels/cpu/layernorm_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// The rows that are normalised together are added together: they are then still in the first-level cache.
void add_and_normalize_rows(const NormalizedRows& to, float* sum, const float* x, const float* residual,
                            std::int64_t begin, std::int64_t end) {
  const std::int64_t together = rows_together(to.cols);
  for (std::int64_t first = begin; first < end; first += together) {
    const std::int64_t count = std::min(together, end - first), start = first * to.cols;
    over_vectors(count * to.cols, [&](std::int64_t i, auto access) HWY_ATTR {
      access.store(hn::Add(access.load(x + start + i), access.load(residual + start + i)), sum + start + i);
    });
    normalize_together(to, sum + start, first, count);
  }
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(add_and_normalize_rows);

void residual_layernorm(const ResidualLayerNorm& op) {
  require_f32("residual_layernorm", {{"x", op.x}});
  const NormalizedRows to = NormalizedRows::of(op);
  float* sum = op.sum.data<float>();
  const float *x = op.x.data<float>(), *residual = op.residual.data<float>();
  parallel_for(op.x.shape().rows(), normalized_rows_grain(to.cols), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_and_normalize_rows)(to, sum, x, residual, begin, end);
  });
}

}  // namespace accrue::kernels::cpu
#endif
