#include "kernels/bias.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <string>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::bias_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::to_doubles;

constexpr double u = 0x1p-24;
const float nan = std::numeric_limits<float>::quiet_NaN();

// Where the operands are, and what they are in.
struct Place {
  Device device;
  DType dtype;

  std::string to_string() const { return fmt::format("{} on {}", name_of(dtype), device.to_string()); }
};

std::vector<Place> places() {
  std::vector<Place> all;
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) all.push_back({device, dtype});
  return all;
}

void expect_forward(const Place& place, std::int64_t rows, std::int64_t cols, std::uint64_t seed = 1) {
  SCOPED_TRACE(fmt::format("{} x {} {}", rows, cols, place.to_string()));
  const Tensor x = random_tensor({rows, cols}, seed, place.dtype, place.device);
  const Tensor bias = random_tensor({cols}, seed + 1, place.dtype, place.device);
  std::vector<double> expected = to_doubles(x);
  const std::vector<double> b = to_doubles(bias);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += b[i % b.size()];
  std::vector<double> bounds;
  for (const double value : expected) bounds.push_back(u * std::abs(value));  // one rounding
  bounds = testing::rounded_once(bounds, expected, place.dtype);
  const Tensor y = empty_like(x);
  bias_forward({.y = y, .x = x, .bias = bias});
  EXPECT_TRUE(testing::within(y, expected, bounds));
  bias_forward({.y = x, .x = x, .bias = bias});
  EXPECT_TRUE(testing::within(x, expected, bounds)) << "in place";
}

void expect_backward(const Place& place, std::int64_t rows, std::int64_t cols, std::uint64_t seed = 1) {
  SCOPED_TRACE(fmt::format("{} x {} {}", rows, cols, place.to_string()));
  const Tensor dy = random_tensor({rows, cols}, seed, place.dtype, place.device, 0.5f);
  const std::vector<double> d = to_doubles(dy);
  std::vector<double> expected(static_cast<std::size_t>(cols)), bounds(expected.size());
  for (std::size_t i = 0; i < d.size(); ++i) {
    expected[i % expected.size()] += d[i];
    // n additions in any order err by at most (n - 1) u sum|dy| (Higham, Accuracy and Stability, section 4.2).
    bounds[i % expected.size()] += static_cast<double>(rows) * u * std::abs(d[i]);
  }
  const Tensor dbias =
      testing::tensor_of(std::vector<float>(static_cast<std::size_t>(cols), nan), {cols}, DType::f32, place.device);
  bias_backward({.dbias = {dbias, Write::overwrite}, .dy = dy});
  EXPECT_TRUE(testing::within(dbias, expected, bounds));
}

TEST(Bias, ForwardAddsTheBiasToEveryRow) {
  for (const Place& place : places())
    for (const std::int64_t rows : testing::sweep_rows)
      for (const std::int64_t cols : testing::sweep_cols) expect_forward(place, rows, cols);
}

TEST(Bias, BackwardSumsOverTheRows) {
  for (const Place& place : places()) {
    for (const std::int64_t rows : testing::sweep_rows)
      for (const std::int64_t cols : testing::sweep_cols) expect_backward(place, rows, cols);
    // Around the rows that are summed privately, and so many that each part has more of them.
    for (const std::int64_t rows : {64, 65, 1000})
      for (const std::int64_t cols : {1, 33, 264}) expect_backward(place, rows, cols);
  }
  for (const Device device : testing::devices()) expect_backward({device, DType::f32}, 20000, 3);
  expect_backward({Device::cpu(), DType::f32}, 1000, 4097);
}

TEST(Bias, MatchesTheDefinitionForRandomShapes) {
  for (const Device device : testing::devices())
    EXPECT_TRUE(rc::check("bias", [device] {
      const Place place{device, *rc::gen::elementOf(testing::activation_dtypes(device))};
      const auto rows = *rc::gen::inRange<std::int64_t>(0, 300);
      const auto cols = *rc::gen::inRange<std::int64_t>(1, 300);
      const auto seed = *rc::gen::inRange<std::uint64_t>(0, 1000);
      expect_forward(place, rows, cols, seed);
      expect_backward(place, rows, cols, seed);
      RC_ASSERT(!::testing::Test::HasFailure());
    }));
}

// A view need not begin where a 16-byte access may.
TEST(Bias, TakesViewsThatBeginAtAnyElement) {
  for (const Place& place : places()) {
    SCOPED_TRACE(place.to_string());
    const Tensor buffer = random_tensor({1000}, 1, place.dtype, place.device);
    const Tensor x = buffer.view({70, 8}, 1), bias = buffer.view({8}, 601);
    const Tensor y = empty_like(x), out = Tensor::zeros({565}, place.dtype, place.device);
    bias_forward({.y = y, .x = x.clone(), .bias = bias.clone()});
    bias_forward({.y = out.view({70, 8}, 3), .x = x, .bias = bias});
    EXPECT_EQ(to_doubles(out.view({70, 8}, 3)), to_doubles(y));
    EXPECT_EQ(to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(to_doubles(out.view({2}, 563)), (std::vector<double>{0, 0}));

    const Tensor sums = Tensor::zeros({8}, DType::f32, place.device),
                 shifted = Tensor::zeros({11}, DType::f32, place.device);
    bias_backward({.dbias = {sums, Write::overwrite}, .dy = x.clone()});
    bias_backward({.dbias = {shifted.view({8}, 1), Write::overwrite}, .dy = x});
    EXPECT_EQ(to_doubles(shifted.view({8}, 1)), to_doubles(sums));
    EXPECT_EQ(to_doubles(shifted.view({1})), (std::vector<double>{0}));
    EXPECT_EQ(to_doubles(shifted.view({2}, 9)), (std::vector<double>{0, 0}));
  }
}

TEST(Bias, BackwardMatchesFiniteDifferences) {
  for (const Device device : testing::devices()) {
    const Tensor x = random_tensor({7, 5}, 1, DType::f32, device), bias = random_tensor({5}, 2, DType::f32, device),
                 dy = random_tensor({7, 5}, 3, DType::f32, device);
    const std::vector<double> xs = to_doubles(x), weights = to_doubles(dy);
    const auto loss = [&](const std::vector<double>& b) {
      double total = 0;
      for (std::size_t i = 0; i < xs.size(); ++i) total += weights[i] * (xs[i] + b[i % 5]);
      return total;
    };
    const Tensor dbias = Tensor::zeros({5}, DType::f32, device);
    bias_backward({.dbias = {dbias, Write::overwrite}, .dy = dy});
    // Rounding of 7 additions of magnitude <= 4 each (7 * 7 * 4 u), and about 1e-10 of the differences.
    EXPECT_TRUE(testing::within(dbias, testing::numeric_gradient(loss, to_doubles(bias)),
                                testing::Bound{.absolute = 200 * u + 1e-9}));
  }
}

TEST(Bias, BackwardTwiceIsExactlyTwice) {
  for (const auto& [device, dtype] : places()) {
    const Tensor dy = random_tensor({517, 65}, 1, dtype, device);
    const Tensor once = Tensor::zeros({65}, DType::f32, device), twice = Tensor::zeros({65}, DType::f32, device);
    bias_backward({.dbias = {once, Write::overwrite}, .dy = dy});
    bias_backward({.dbias = {twice, Write::overwrite}, .dy = dy});
    bias_backward({.dbias = {twice, Write::accumulate}, .dy = dy});
    std::vector<double> expected = to_doubles(once);
    for (double& value : expected) value *= 2;
    EXPECT_TRUE(testing::within(twice, expected, testing::Bound{}));
  }
}

TEST(Bias, NoRowsGiveAZeroGradientAndLeaveAnAccumulatedOne) {
  for (const auto& [device, dtype] : places()) {
    const Tensor dy = Tensor::zeros({0, 3}, dtype, device);
    const Tensor fresh = testing::tensor_of({nan, nan, nan}, {3}, DType::f32, device),
                 kept = testing::tensor_of({1, 2, 3}, {3}, DType::f32, device);
    bias_backward({.dbias = {fresh, Write::overwrite}, .dy = dy});
    bias_backward({.dbias = {kept, Write::accumulate}, .dy = dy});
    EXPECT_EQ(fresh.to_vector<float>(), (std::vector<float>{0, 0, 0}));
    EXPECT_EQ(kept.to_vector<float>(), (std::vector<float>{1, 2, 3}));
  }
}

TEST(Bias, HasTheSameBitsForAnyNumberOfThreads) {
  for (const Device device : testing::devices()) {
    const Tensor x = random_tensor({1025, 129}, 1, DType::f32, device),
                 bias = random_tensor({129}, 2, DType::f32, device);
    testing::expect_same_bits_for_any_thread_count([&] {
      const Tensor y = empty_like(x), dbias = empty_like(bias);
      bias_forward({.y = y, .x = x, .bias = bias});
      bias_backward({.dbias = {dbias, Write::overwrite}, .dy = x});
      return std::vector{y, dbias};
    });
  }
}

TEST(Bias, ForwardNamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), bias = Tensor::zeros({3}), half = Tensor::zeros({2, 3}, DType::f16);
  EXPECT_EQ(error_message([&] { bias_forward({.y = x, .x = x}); }), "bias_forward: bias must be given");
  EXPECT_EQ(error_message([&] { bias_forward({.y = x, .x = x, .bias = Tensor::zeros({2})}); }),
            "bias_forward: bias must have shape [3] to match the last axis of x [2, 3], but has [2]");
  EXPECT_EQ(error_message([&] { bias_forward({.y = bias, .x = x, .bias = bias}); }),
            "bias_forward: y must have shape [2, 3] like x, but has [3]");
  EXPECT_EQ(error_message([&] { bias_forward({.y = half, .x = x, .bias = bias}); }),
            "bias_forward: y must be f32, but is f16");
  EXPECT_EQ(error_message([&] { bias_forward({.y = x, .x = x, .bias = Tensor::zeros({3}, DType::f16)}); }),
            "bias_forward: bias must be f32, but is f16");
  EXPECT_EQ(error_message([&] { bias_forward({.y = half, .x = half, .bias = Tensor::zeros({3}, DType::f16)}); }),
            "bias_forward: the CPU backend computes in f32, but x is f16");
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), scalar = Tensor::zeros({}), flat = Tensor::zeros({10});
  EXPECT_EQ(error_message([&] { bias_forward({.y = x, .x = ids, .bias = bias}); }),
            "bias_forward: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(error_message([&] { bias_forward({.y = scalar, .x = scalar, .bias = bias}); }),
            "bias_forward: x must have at least 1 axis, but has shape []");
  EXPECT_EQ(error_message([&] {
              bias_forward({.y = flat.view({2, 3}, 3), .x = flat.view({2, 3}), .bias = bias});
            }),
            "bias_forward: y and x must be the same bytes or disjoint, but overlap partly");
}

TEST(Bias, BackwardNamesTheOperandThatDoesNotFit) {
  const Tensor dy = Tensor::zeros({2, 3}), dbias = Tensor::zeros({3}), short_dbias = Tensor::zeros({2});
  const Tensor half_dbias = Tensor::zeros({3}, DType::bf16), half = Tensor::zeros({2, 3}, DType::bf16);
  const Tensor bytes = Tensor::zeros({2, 3}, DType::u8), scalar = Tensor::zeros({});
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {}, .dy = dy}); }), "bias_backward: dbias must be given");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {dbias}}); }), "bias_backward: dy must be given");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {short_dbias}, .dy = dy}); }),
            "bias_backward: dbias must have shape [3] to match the last axis of dy [2, 3], but has [2]");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {half_dbias}, .dy = dy}); }),
            "bias_backward: dbias must be f32, but is bf16");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {dbias}, .dy = half}); }),
            "bias_backward: the CPU backend computes in f32, but dy is bf16");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {dbias}, .dy = bytes}); }),
            "bias_backward: dy must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {dbias}, .dy = scalar}); }),
            "bias_backward: dy must have at least 1 axis, but has shape []");
  EXPECT_EQ(error_message([&] { bias_backward({.dbias = {dy.view({3}, 3)}, .dy = dy}); }),
            "bias_backward: dbias must not share memory with dy, but does");
}

}  // namespace
}  // namespace accrue::kernels::bias_test
