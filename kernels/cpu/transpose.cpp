#include "kernels/cpu/transpose.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/transpose.cpp"
#include "kernels/cpu/simd.h"
// After simd.h, which knows the targets.
#include "kernels/cpu/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// Block by block, whose cache lines stay while they are used: a row of 16 floats is one.
void transpose_blocks(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t cols, float* to,
                      std::int64_t to_stride) {
  constexpr std::int64_t block = 16;
  for (std::int64_t r = 0; r < rows; r += block)
    for (std::int64_t c = 0; c < cols; c += block)
      transpose_scaled(from + r * from_stride + c, from_stride, std::min(block, rows - r), std::min(block, cols - c),
                       1.0f, to + c * to_stride + r, to_stride);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(transpose_blocks);

void transpose(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t cols, float* to,
               std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(transpose_blocks)(from, from_stride, rows, cols, to, to_stride);
}

}  // namespace accrue::kernels::cpu
#endif
