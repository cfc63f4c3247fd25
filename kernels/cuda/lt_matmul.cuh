// Matrix products by cuBLASLt, with descriptors and chosen algorithms cached by problem.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace accrue::kernels::cuda {

// GELU and its gradient, beside a product that is not batched: with `forward`, gelu_input takes the product and out its
// GELU; with `backward`, out is the product times GELU's derivative at gelu_input, which is like out.
enum class LtGelu { none, forward, backward };

// Sums over the depth k, beside a product that is not batched, into sums_out: of the columns of b, f32 [n], where b is
// not transposed, or of those of a, f32 [m], where a is. In tf32, of the rounded operand.
enum class LtSums { none, columns_of_b, columns_of_a };

// `batch` products of row-major matrices, the operands of each behind those of the last: out [m, n] = op(a) [m, k] ·
// op(b) [k, n] + bias [n], or added to what is in out. Sums are in f32. m, n, k and batch are positive; bias may be
// undefined, and is when accumulating.
struct LtMatmul {
  Tensor out, a, b, bias;
  std::int64_t m, n, k, batch = 1;
  bool transpose_a = false, transpose_b = false;
  bool accumulate = false;
  // One of bias, GELU and sums at most, but for a bias before GELU.
  LtGelu gelu = LtGelu::none;
  Tensor gelu_input;
  LtSums sums = LtSums::none;
  Tensor sums_out;
};

// On the compute stream of out's device. Throws Error(internal) naming call, shapes and device where cuBLASLt refuses.
void lt_matmul(const LtMatmul& op);

// The same; returns false, with nothing written, where cuBLASLt has no algorithm for it, as may be with GELU and sums.
bool try_lt_matmul(const LtMatmul& op);

}  // namespace accrue::kernels::cuda
