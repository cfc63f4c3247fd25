// That the epilogues of kernels/linear.h are computed by cuBLASLt where it can, not quietly as operations of their own;
// and bias and operands of products at every address that tensors may have.
#include "kernels/cuda/lt_matmul.cuh"

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "tests/testing/compare.h"
#include "tests/testing/needs_cuda.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::cuda {
namespace {

using namespace accrue::testing;

class LtMatmulTest : public NeedsCuda {
 protected:
  static Tensor operand(const Shape& shape, DType dtype) { return random_tensor(shape, 1, dtype, Device::cuda()); }
};

TEST_F(LtMatmulTest, HasGeluForWidthsOfEightInHalves) {
  for (const DType dtype : {DType::f16, DType::bf16})
    for (const std::int64_t width : {128, 256, 257}) {
      const Tensor x = operand({64, 128}, dtype), weight = operand({128, width}, dtype),
                   y = operand({64, width}, dtype), z = operand({64, width}, dtype), dy = operand({64, 128}, dtype);
      LtMatmul forward{.out = y, .a = x, .b = weight, .m = 64, .n = width, .k = 128};
      forward.gelu = LtGelu::forward;
      forward.gelu_input = z;
      EXPECT_EQ(try_lt_matmul(forward), width % 8 == 0) << name_of(dtype) << " " << width;
      LtMatmul backward{.out = z, .a = dy, .b = operand({width, 128}, dtype), .m = 64, .n = width, .k = 128};
      backward.transpose_b = true;
      backward.gelu = LtGelu::backward;
      backward.gelu_input = y;
      EXPECT_EQ(try_lt_matmul(backward), width % 8 == 0) << name_of(dtype) << " " << width;
    }
}

TEST_F(LtMatmulTest, HasSumsBesideWeightGradients) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const Tensor x = operand({256, 64}, dtype), dy = operand({256, 128}, dtype), sums = operand({128}, DType::f32);
    LtMatmul in_out{.out = operand({64, 128}, DType::f32), .a = x, .b = dy, .m = 64, .n = 128, .k = 256};
    in_out.transpose_a = true;
    in_out.sums = LtSums::columns_of_b;
    in_out.sums_out = sums;
    EXPECT_TRUE(try_lt_matmul(in_out)) << name_of(dtype);
    LtMatmul out_in{.out = operand({128, 64}, DType::f32), .a = dy, .b = x, .m = 128, .n = 64, .k = 256};
    out_in.transpose_a = true;
    out_in.sums = LtSums::columns_of_a;
    out_in.sums_out = sums;
    EXPECT_TRUE(try_lt_matmul(out_in)) << name_of(dtype);
  }
}

// Parameters lie one behind the other, at multiples of their element.
TEST_F(LtMatmulTest, TakesOperandsThatBeginAtAnyElement) {
  for (const DType dtype : float_dtypes)
    for (const std::int64_t offset : {1, 2, 3, 4, 8}) {
      const auto shifted = [&](const Shape& shape) {
        return operand({shape.numel() + offset}, dtype).view(shape, offset);
      };
      const Tensor a = shifted({16, 24}), b = shifted({24, 8}), bias = shifted({8}), out = shifted({16, 8});
      kernels::matmul({.out = out, .a = a, .b = b, .bias = bias});
      const Tensor expected = Tensor::empty({16, 8}, dtype, Device::cuda());
      kernels::matmul({.out = expected, .a = a.clone(), .b = b.clone(), .bias = bias.clone()});
      // Another algorithm may sum in another order: 25 terms below 4 * 4 each.
      const double in_f32 = 25 * 25 * 16 * unit_roundoff(DType::f32);
      std::vector<double> bounds;
      for (const double value : to_doubles(expected))
        bounds.push_back(2 * in_f32 + 2 * rounding_error(dtype, std::abs(value) + in_f32));
      EXPECT_TRUE(within(out, to_doubles(expected), bounds)) << name_of(dtype) << " " << offset;
    }
}

}  // namespace
}  // namespace accrue::kernels::cuda
