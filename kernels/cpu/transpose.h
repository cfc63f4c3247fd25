// Transposed copies of f32 matrices, for kernels that pack their operands.
#pragma once

#include <cstdint>

namespace accrue::kernels::cpu {

// to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < cols, on the calling thread.
void transpose(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t cols, float* to,
               std::int64_t to_stride);

}  // namespace accrue::kernels::cpu
