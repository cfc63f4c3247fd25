// Matrix products by cuBLASLt, with descriptors and chosen algorithms cached by problem.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace accrue::kernels::cuda {

// `batch` products of row-major matrices, the operands of each behind those of the last: out [m, n] = op(a) [m, k] ·
// op(b) [k, n] + bias [n], or added to what is in out. Sums are in f32. m, n, k and batch are positive; bias may be
// undefined, and is when accumulating.
struct LtMatmul {
  Tensor out, a, b, bias;
  std::int64_t m, n, k, batch = 1;
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;
};

// On the compute stream of out's device. Throws Error(internal) naming call, shapes and device where cuBLASLt refuses.
void lt_matmul(const LtMatmul& op);

}  // namespace accrue::kernels::cuda
