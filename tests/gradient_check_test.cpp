#include "kernels/gradient_check.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/threads.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::gradient_check_test {
namespace {

using namespace accrue::testing;

StepState checked(const Tensor& gradient, const StepState& before = {}) {
  const Tensor state = make_step_state(gradient.device());
  write_step_state(state, before);
  gradient_check({.state = state, .gradient = gradient});
  return read_step_state(state);
}

TEST(GradientCheck, SumsSquaresInF64OverTheSweep) {
  std::uint64_t seed = 1;
  for (const Device device : devices())
    for (const DType dtype : gradient_dtypes)
      for (const std::int64_t rows : sweep_rows)
        for (const std::int64_t cols : sweep_cols) {
          SCOPED_TRACE(fmt::format("{} {} x {} on {}", name_of(dtype), rows, cols, device.to_string()));
          const Tensor gradient = random_tensor({rows, cols}, ++seed, dtype, device, 0.1f, 3);
          long double expected = 0;
          for (const double value : to_doubles(gradient)) expected += static_cast<long double>(value) * value;
          const StepState state = checked(gradient, {.squared_norm = 77});
          // n additions of exact squares, all positive: gamma(n) in f64.
          const double bound = static_cast<double>(rows * cols) * 0x1p-53 * static_cast<double>(expected);
          EXPECT_NEAR(state.squared_norm, static_cast<double>(expected), bound);
          EXPECT_EQ(state.found_inf, 0);
        }
}

TEST(GradientCheck, FindsANonFiniteElementAnywhere) {
  for (const Device device : devices())
    for (const DType dtype : gradient_dtypes)
      for (const float bad :
           {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")})
        for (const std::int64_t n : {1, 15, 16, 33, 70000, 200001})
          for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
            std::vector<float> values(static_cast<std::size_t>(n), 0.5f);
            values[static_cast<std::size_t>(at)] = bad;
            const StepState state = checked(tensor_of(values, {n}, dtype, device));
            EXPECT_EQ(state.found_inf, 1)
                << name_of(dtype) << " " << bad << " at " << at << " of " << n << " on " << device.to_string();
            EXPECT_FALSE(std::isfinite(state.squared_norm));
          }
}

TEST(GradientCheck, FoundInfStaysUntilTheWindowIsCleared) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState state = checked(random_tensor({33}, 1, DType::f32, device), {.found_inf = 1});
    EXPECT_EQ(state.found_inf, 1);
    EXPECT_TRUE(std::isfinite(state.squared_norm));
  }
}

TEST(GradientCheck, SquaresBeyondF32AreNotAnOverflow) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const float huge = std::numeric_limits<float>::max();
    const StepState state = checked(tensor_of(std::vector<float>(100000, huge), {100000}, DType::f32, device));
    EXPECT_EQ(state.found_inf, 0);
    const double expected = 1e5 * static_cast<double>(huge) * static_cast<double>(huge);
    EXPECT_NEAR(state.squared_norm, expected, 1e5 * 0x1p-53 * expected);
  }
}

TEST(GradientCheck, TinySquaresAreNotLost) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const float tiny = std::numeric_limits<float>::denorm_min();
    EXPECT_EQ(checked(tensor_of({tiny, tiny}, {2}, DType::f32, device)).squared_norm,
              2.0 * static_cast<double>(tiny) * static_cast<double>(tiny));
  }
}

TEST(GradientCheck, BitsAreTheSameForAnyNumberOfThreadsAndAnyFirstElement) {
  const int before = thread_count();
  for (const Device device : devices()) {
    for (const DType dtype : gradient_dtypes) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const Tensor buffer = random_tensor({300008}, 1, dtype, device), gradient = buffer.view({300007}, 1);
      std::uint64_t first = 0;
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        const auto bits = std::bit_cast<std::uint64_t>(checked(gradient).squared_norm);
        if (threads == 1) first = bits;
        EXPECT_EQ(bits, first);
      }
      EXPECT_EQ(std::bit_cast<std::uint64_t>(checked(gradient.clone()).squared_norm), first);
    }
  }
  set_thread_count(before);
}

// Same chunks, same order, whatever the dtype of the values.
TEST(GradientCheck, AHalfGradientGivesTheBitsOfItsValuesInF32) {
  for (const Device device : devices()) {
    const Tensor half = random_tensor({70001}, 1, DType::bf16, device);
    const std::vector<double> values = to_doubles(half);
    const Tensor wide = tensor_of({values.begin(), values.end()}, {70001}, DType::f32, device);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(checked(half).squared_norm),
              std::bit_cast<std::uint64_t>(checked(wide).squared_norm))
        << device.to_string();
  }
}

TEST(GradientCheck, LeavesTheOtherFieldsAlone) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState state = checked(random_tensor({33}, 1, DType::f32, device),
                                    {.loss_sum = 3, .target_count = 4, .loss_scale = 8, .update = 5});
    EXPECT_EQ(state.loss_sum, 3);
    EXPECT_EQ(state.target_count, 4);
    EXPECT_EQ(state.loss_scale, 8);
    EXPECT_EQ(state.update, 5);
  }
}

TEST(GradientCheck, RefusesWrongOperandsByName) {
  const Tensor state = make_step_state(Device::cpu());
  const auto message = [](const GradientCheck& op) { return error_message([&] { gradient_check(op); }); };
  EXPECT_EQ(message({.gradient = Tensor::zeros({2})}), "gradient_check: state must be given");
  EXPECT_EQ(message({.state = state}), "gradient_check: gradient must be given");
  EXPECT_EQ(message({.state = state, .gradient = Tensor::zeros({2}, DType::f16)}),
            "gradient_check: gradient must be f32 or bf16, but is f16");
  EXPECT_EQ(message({.state = Tensor::zeros({4}), .gradient = Tensor::zeros({2})}),
            "gradient_check: state must be u8, but is f32");
  EXPECT_EQ(message({.state = Tensor::zeros({4}, DType::u8), .gradient = Tensor::zeros({2})}),
            fmt::format("gradient_check: state must have shape [{}] as made by make_step_state, but has [4]",
                        sizeof(StepState)));
}

}  // namespace
}  // namespace accrue::kernels::gradient_check_test
