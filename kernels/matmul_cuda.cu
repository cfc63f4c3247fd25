#include "kernels/bias.h"
#include "kernels/cuda/lt_matmul.cuh"
#include "kernels/matmul.h"

namespace accrue::kernels::cuda {
namespace {

// A sum of no products: what the bias alone gives.
void empty_sum(const Matmul& op) {
  if (op.write == Write::accumulate) return;
  op.out.fill_zero();
  if (op.bias.defined()) bias_forward({.y = op.out, .x = op.out, .bias = op.bias});
}

}  // namespace

void matmul(const Matmul& op) {
  const bool batched = op.b.shape().rank() == 3;
  const LtMatmul product{.out = op.out,
                         .a = op.a,
                         .b = op.b,
                         .bias = op.bias,
                         .m = batched ? op.out.shape()[1] : op.out.shape().rows(),
                         .n = op.out.shape().last(),
                         .k = op.transpose_b ? op.b.shape()[-1] : op.b.shape()[-2],
                         .batch = batched ? op.b.shape()[0] : 1,
                         .transpose_a = op.transpose_a,
                         .transpose_b = op.transpose_b,
                         .accumulate = op.write == Write::accumulate};
  if (op.out.numel() == 0) return;
  if (product.k == 0) return empty_sum(op);
  lt_matmul(product);
}

}  // namespace accrue::kernels::cuda
