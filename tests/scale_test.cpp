#include "kernels/scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/threads.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::scale_test {
namespace {

using namespace accrue::testing;

TEST(Scale, MatchesF64ReferenceOverTheSweepOutOfPlaceAndInPlace) {
  std::uint64_t seed = 1;
  for (const Device device : devices())
    for (const DType dtype : float_dtypes)
      for (const std::int64_t rows : sweep_rows)
        for (const std::int64_t cols : sweep_cols)
          for (const bool on_device : {false, true}) {
            SCOPED_TRACE(fmt::format("{} [{}, {}] on {}", name_of(dtype), rows, cols, device.to_string()));
            const Tensor x = random_tensor({rows, cols}, ++seed, dtype, device);
            const Tensor factor = on_device ? tensor_of({0.7f}, {1}, DType::f32, device) : Tensor();
            std::vector<double> expected = to_doubles(x);
            for (double& value : expected) value *= -3.0 * (on_device ? 0.7f : 1.0);
            // The factors' product, the product, and the conversion to the dtype round once each; below the normal
            // range of f16 the last rounding is half of its smallest subnormal instead.
            const Bound bound{.relative = 2 * unit_roundoff(DType::f32) + 1.01 * unit_roundoff(dtype),
                              .absolute = dtype == DType::f16 ? 0x1p-25 : 0.0};
            const Tensor out = empty_like(x);
            scale({.out = out, .x = x, .factor_host = -3, .factor_device = factor});
            EXPECT_TRUE(within(out, expected, bound));
            scale({.out = x, .x = x, .factor_host = -3, .factor_device = factor});
            EXPECT_EQ(to_doubles(x), to_doubles(out));
          }
}

TEST(Scale, PowersOfTwoAreExactAndNanSurvivesZero) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor x =
        tensor_of({1.5f, std::nanf(""), std::numeric_limits<float>::infinity(), -0.75f}, {4}, DType::f32, device);
    const Tensor out = empty_like(x);
    scale({.out = out, .x = x, .factor_host = 0x1p16f});
    EXPECT_TRUE(
        within(out, {1.5 * 65536, std::nan(""), std::numeric_limits<double>::infinity(), -0.75 * 65536}, Bound{}));
    scale({.out = out, .x = x, .factor_host = 0});
    EXPECT_TRUE(within(out, {0, std::nan(""), std::nan(""), 0}, Bound{}));
  }
}

// A view need not begin where a 16-byte access may.
TEST(Scale, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : devices())
    for (const DType dtype : float_dtypes) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const Tensor buffer = random_tensor({300}, 1, dtype, device), out = Tensor::zeros({102}, dtype, device);
      std::vector<double> expected = to_doubles(buffer.view({97}, 1));
      for (double& value : expected) value *= -2;
      scale({.out = out.view({97}, 3), .x = buffer.view({97}, 1), .factor_host = -2});
      EXPECT_TRUE(within(out.view({97}, 3), expected, Bound{}));
      EXPECT_EQ(to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
      EXPECT_EQ(to_doubles(out.view({2}, 100)), (std::vector<double>{0, 0}));
    }
}

TEST(Scale, BitsAreTheSameForAnyNumberOfThreads) {
  const int before = thread_count();
  const Tensor x = random_tensor({100003}, 1, DType::f16), first = empty_like(x), out = empty_like(x);
  set_thread_count(1);
  scale({.out = first, .x = x, .factor_host = 0.3f});
  for (const int threads : {2, 3}) {
    set_thread_count(threads);
    scale({.out = out, .x = x, .factor_host = 0.3f});
    EXPECT_EQ(out.to_vector<f16>(), first.to_vector<f16>());
  }
  set_thread_count(before);
}

TEST(Scale, RefusesWrongOperandsByName) {
  const Tensor x = Tensor::zeros({2, 3});
  const auto message = [](const Scale& op) { return error_message([&] { scale(op); }); };
  EXPECT_EQ(message({.x = x}), "scale: out must be given");
  EXPECT_EQ(message({.out = x}), "scale: x must be given");
  EXPECT_EQ(message({.out = x, .x = Tensor::zeros({2, 3}, DType::u8)}), "scale: x must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(message({.out = x, .x = Tensor::zeros({2, 3}, DType::f16)}), "scale: out must be f16, but is f32");
  EXPECT_EQ(message({.out = x, .x = Tensor::zeros({6})}), "scale: out must have shape [6] like x, but has [2, 3]");
  EXPECT_EQ(message({.out = x, .x = x, .factor_device = Tensor::zeros({1}, DType::bf16)}),
            "scale: factor_device must be f32, but is bf16");
  EXPECT_EQ(message({.out = x, .x = x, .factor_device = Tensor::zeros({2})}),
            "scale: factor_device must have shape [1] as a scalar, but has [2]");
  const Tensor base = Tensor::zeros({4});
  EXPECT_EQ(message({.out = base.view({3}, 0), .x = base.view({3}, 1)}),
            "scale: out and x must be the same bytes or disjoint, but overlap partly");
}

}  // namespace
}  // namespace accrue::kernels::scale_test
