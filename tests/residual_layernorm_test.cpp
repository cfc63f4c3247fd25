#include "kernels/residual_layernorm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/add.h"
#include "kernels/layernorm.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::residual_layernorm_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::to_doubles;
using Doubles = std::vector<double>;

const float nan = std::numeric_limits<float>::quiet_NaN();

Tensor nans(const Shape& shape, DType dtype, Device device) {
  return testing::tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), nan), shape, dtype, device);
}

// Arguments whose results are NaN before the operation runs.
ResidualLayerNorm arguments(std::int64_t rows, std::int64_t cols, DType dtype, Device device) {
  return {.sum = nans({rows, cols}, dtype, device),
          .y = nans({rows, cols}, dtype, device),
          .mean = nans({rows}, DType::f32, device),
          .rstd = nans({rows}, DType::f32, device),
          .x = random_tensor({rows, cols}, 1, dtype, device, 0.5f),
          .residual = random_tensor({rows, cols}, 2, dtype, device),
          .gamma = random_tensor({cols}, 3, dtype, device, 1),
          .beta = random_tensor({cols}, 4, dtype, device)};
}

struct Results {
  Doubles sum, y, mean, rstd;
  explicit Results(const ResidualLayerNorm& op)
      : sum(to_doubles(op.sum)), y(to_doubles(op.y)), mean(to_doubles(op.mean)), rstd(to_doubles(op.rstd)) {}
};

// The two operations one after the other, whose own tests compare them with their definitions. `first` puts the sum, as
// the operation's own, off the 16-byte grid: on a GPU that changes which elements a thread adds up.
Results expected(const ResidualLayerNorm& op, std::int64_t first = 0) {
  ResidualLayerNorm two = op;
  two.sum = nans({op.x.numel() + first}, op.x.dtype(), op.x.device()).view(op.x.shape(), first);
  two.y = empty_like(op.x), two.mean = empty_like(op.mean), two.rstd = empty_like(op.rstd);
  add({.out = two.sum, .a = op.x, .b = op.residual});
  layernorm_forward({.y = two.y,
                     .mean = two.mean,
                     .rstd = two.rstd,
                     .x = two.sum,
                     .gamma = op.gamma,
                     .beta = op.beta,
                     .eps = op.eps});
  return Results(two);
}

// testing::within takes two NaN for equal, which == does not.
void expect_same(const Results& actual, const Results& wanted) {
  EXPECT_TRUE(testing::within(actual.sum, wanted.sum, testing::Bound{}));
  EXPECT_TRUE(testing::within(actual.y, wanted.y, testing::Bound{}));
  EXPECT_TRUE(testing::within(actual.mean, wanted.mean, testing::Bound{}));
  EXPECT_TRUE(testing::within(actual.rstd, wanted.rstd, testing::Bound{}));
}

TEST(ResidualLayerNorm, HasTheBitsOfAddFollowedByLayerNorm) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t rows : {0, 1, 7, 20})
        for (const std::int64_t cols : {1, 31, 32, 33, 264, 1000, 4097, 4104}) {
          if (rows == 20 && cols > 33) continue;
          SCOPED_TRACE(fmt::format("{} x {} {} on {}", rows, cols, name_of(dtype), device.to_string()));
          const ResidualLayerNorm op = arguments(rows, cols, dtype, device);
          residual_layernorm(op);
          expect_same(Results(op), expected(op));
        }
}

TEST(ResidualLayerNorm, TheSumMayReplaceEitherOperand) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t cols : {40, 4097}) {
        SCOPED_TRACE(fmt::format("{} {} on {}", cols, name_of(dtype), device.to_string()));
        ResidualLayerNorm op = arguments(5, cols, dtype, device);
        const Results wanted = expected(op);
        ResidualLayerNorm in_x = op, in_residual = op;
        in_x.sum = in_x.x = op.x.clone();
        residual_layernorm(in_x);
        expect_same(Results(in_x), wanted);
        in_residual.sum = in_residual.residual = op.residual.clone();
        residual_layernorm(in_residual);
        expect_same(Results(in_residual), wanted);
      }
}

TEST(ResidualLayerNorm, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const ResidualLayerNorm aligned = arguments(3, 40, dtype, device);
      ResidualLayerNorm op = aligned;
      const Tensor buffer = nans({122}, dtype, device);
      op.sum = buffer.view({3, 40}, 1);
      op.x = nans({121}, dtype, device).view({3, 40}, 1);
      op.x.copy_from(aligned.x);
      residual_layernorm(op);
      expect_same(Results(op), expected(op, 1));
      EXPECT_TRUE(std::isnan(to_doubles(buffer).front()) && std::isnan(to_doubles(buffer).back()));
    }
}

TEST(ResidualLayerNorm, NanStaysInItsRow) {
  for (const Device device : testing::devices()) {
    ResidualLayerNorm op = arguments(3, 40, DType::f32, device);
    std::vector<float> values = op.residual.to_vector<float>();
    values[45] = nan;
    op.residual = testing::tensor_of(values, {3, 40}, DType::f32, device);
    residual_layernorm(op);
    const std::vector<float> sum = op.sum.to_vector<float>(), y = op.y.to_vector<float>();
    for (std::size_t i = 0; i < y.size(); ++i) {
      EXPECT_EQ(std::isnan(sum[i]), i == 45) << i;
      EXPECT_EQ(std::isnan(y[i]), i / 40 == 1) << i;
    }
  }
}

TEST(ResidualLayerNorm, HasTheSameBitsForAnyNumberOfThreads) {
  testing::expect_same_bits_for_any_thread_count([] {
    const ResidualLayerNorm op = arguments(1025, 129, DType::f32, Device::cpu());
    residual_layernorm(op);
    return std::vector{op.sum, op.y, op.mean, op.rstd};
  });
}

TEST(ResidualLayerNorm, NamesTheOperandThatDoesNotFit) {
  const ResidualLayerNorm good = arguments(8, 16, DType::f32, Device::cpu());
  const Tensor wide = Tensor::zeros({8, 17}), half = Tensor::zeros({8, 16}, DType::bf16), few = Tensor::zeros({7});
  const Tensor buffer = Tensor::zeros({8 * 16 + 1});
  const auto message = [&](auto change) {
    return error_message([&] {
      ResidualLayerNorm op = good;
      change(op);
      residual_layernorm(op);
    });
  };
  EXPECT_EQ(message([&](auto& op) { op.residual = {}; }), "residual_layernorm: residual must be given");
  EXPECT_EQ(message([&](auto& op) { op.residual = wide; }),
            "residual_layernorm: residual must have shape [8, 16] like x, but has [8, 17]");
  EXPECT_EQ(message([&](auto& op) { op.sum = half; }), "residual_layernorm: sum must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.y = wide; }),
            "residual_layernorm: y must have shape [8, 16] like x, but has [8, 17]");
  EXPECT_EQ(message([&](auto& op) { op.rstd = few; }),
            "residual_layernorm: rstd must have shape [8] to match the rows of x [8, 16], but has [7]");
  EXPECT_EQ(message([&](auto& op) { op.gamma = few; }),
            "residual_layernorm: gamma must have shape [16] to match the last axis of x [8, 16], but has [7]");
  EXPECT_EQ(message([&](auto& op) { op.eps = -1; }), "residual_layernorm: eps must not be negative, but is -1");
  EXPECT_EQ(message([&](auto& op) { op.y = op.sum; }),
            "residual_layernorm: y must not share memory with sum, but does");
  EXPECT_EQ(message([&](auto& op) {
              op.sum = buffer.view({8, 16}), op.x = buffer.view({8, 16}, 1);
            }),
            "residual_layernorm: sum and x must be the same bytes or disjoint, but overlap partly");
  EXPECT_EQ(message([&](auto& op) { op.mean = op.rstd; }),
            "residual_layernorm: mean must not share memory with rstd, but does");
  EXPECT_EQ(message([&](auto& op) { op = arguments(8, 16, DType::bf16, Device::cpu()); }),
            "residual_layernorm: the CPU backend computes in f32, but x is bf16");
}

}  // namespace
}  // namespace accrue::kernels::residual_layernorm_test
