#include <algorithm>

#include "kernels/cuda/lt_matmul.cuh"
#include "kernels/grad_accumulate.h"
#include "kernels/linear.h"
#include "kernels/matmul_epilogues.h"

namespace accrue::kernels::cuda {
namespace {

// A product of nothing, and a sum of no products, are not cuBLASLt's.
bool may_fuse(std::initializer_list<Tensor> operands) {
  if (matmul_epilogues() != MatmulEpilogues::all) return false;
  return std::ranges::none_of(operands, [](const Tensor& operand) { return operand.numel() == 0; });
}

bool counted(bool fused) {
  if (fused) count_fused_product();
  return fused;
}

bool fused_gelu(const LinearGelu& op) {
  return may_fuse({op.x, op.y}) && try_lt_matmul({.out = op.y,
                                                  .a = op.x,
                                                  .b = op.weight,
                                                  .bias = op.bias,
                                                  .m = op.x.shape().rows(),
                                                  .n = op.weight.shape()[1],
                                                  .k = op.weight.shape()[0],
                                                  .gelu = LtGelu::forward,
                                                  .gelu_input = op.z});
}

bool fused_gelu_backward(const LinearGeluBackward& op) {
  return may_fuse({op.dy, op.dz}) && try_lt_matmul({.out = op.dz,
                                                    .a = op.dy,
                                                    .b = op.weight,
                                                    .m = op.dy.shape().rows(),
                                                    .n = op.weight.shape()[0],
                                                    .k = op.weight.shape()[1],
                                                    .transpose_b = true,
                                                    .gelu = LtGelu::backward,
                                                    .gelu_input = op.z});
}

// cuBLASLt overwrites a bias gradient, whatever it does with the product.
bool fused_weight_backward(const LinearWeightBackward& op) {
  if (!op.dbias || !may_fuse({op.dy, op.x})) return false;
  const Tensor& dbias = op.dbias.tensor;
  const bool add = op.dbias.write == Write::accumulate;
  const Tensor own = add ? Tensor::empty(dbias.shape(), DType::f32, dbias.device(), Category::workspace) : dbias;
  const std::int64_t in = op.x.shape().last(), out = op.dy.shape().last();
  const bool done = try_lt_matmul({.out = op.dweight.tensor,
                                   .a = op.transpose ? op.dy : op.x,
                                   .b = op.transpose ? op.x : op.dy,
                                   .m = op.transpose ? out : in,
                                   .n = op.transpose ? in : out,
                                   .k = op.x.shape().rows(),
                                   .transpose_a = true,
                                   .accumulate = op.dweight.write == Write::accumulate,
                                   .sums = op.transpose ? LtSums::columns_of_a : LtSums::columns_of_b,
                                   .sums_out = own});
  if (done && add) grad_accumulate({.acc = op.dbias, .incoming = own});
  return done;
}

}  // namespace

void linear_gelu(const LinearGelu& op) {
  if (!counted(fused_gelu(op))) unfused::linear_gelu(op);
}

void linear_gelu_backward(const LinearGeluBackward& op) {
  if (!counted(fused_gelu_backward(op))) unfused::linear_gelu_backward(op);
}

void linear_weight_backward(const LinearWeightBackward& op) {
  if (!counted(fused_weight_backward(op))) unfused::linear_weight_backward(op);
}

}  // namespace accrue::kernels::cuda
