// The shared vector functions of kernels/cpu/simd.h, on every instruction set that this machine has.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/simd_math_test.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void exp_range(const float* x, float* y, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR { access.store(exp(access.load(x + i)), y + i); });
}

std::int64_t target_in_use() { return HWY_TARGET; }

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
// After simd.h, which limits Highway's targets.
#include "tests/testing/instruction_sets.h"

namespace accrue::kernels::cpu::simd_math_test {
namespace {

HWY_EXPORT(exp_range);
HWY_EXPORT(target_in_use);

TEST(InstructionSet, IsTheOneThatTheEnvironmentNamesOrElseTheBest) {
  const std::int64_t named = testing::instruction_set_of_environment().value();
  const std::int64_t here = hwy::SupportedTargets() & HWY_TARGETS, best = here & -here;  // the better, the lower a bit
  const std::int64_t expected = named != 0 ? named : best;
  EXPECT_EQ(HWY_DYNAMIC_DISPATCH(target_in_use)(), expected);
  testing::for_each_instruction_set([] {});
  EXPECT_EQ(HWY_DYNAMIC_DISPATCH(target_in_use)(), expected) << "after a test that goes through all";
}

// Runs the test once per target, from the best one down.
class SimdMath : public ::testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    testing::use_instruction_sets(0);
    if ((hwy::SupportedTargets() & GetParam()) == 0) GTEST_SKIP() << "not supported by this machine";
    testing::use_instruction_sets(GetParam());
  }
  void TearDown() override { testing::use_instruction_sets(testing::instruction_set_of_environment().value()); }
};

std::vector<float> exp_of(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(exp_range)(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  return y;
}

// The distance in units of the last place of the correctly rounded result (the smallest subnormal below the normal
// range).
double ulp_error(float actual, double exact) {
  int exponent = 0;
  std::frexp(exact, &exponent);
  return std::abs(actual - exact) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

// Argument reduction and polynomial contribute less than 1.1 ulp (results just below a power of two), the last rounding
// 0.5.
constexpr double exp_bound_ulp = 2;

TEST_P(SimdMath, ExpIsWithinTwoUlpOverItsWholeRange) {
  std::vector<float> x;
  for (double v = -104.5; v < 88.7228; v += 1e-4) x.push_back(static_cast<float>(v));
  const std::vector<float> y = exp_of(x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulp_error(y[i], std::exp(static_cast<double>(x[i]))));
  EXPECT_LE(worst, exp_bound_ulp);
}

TEST_P(SimdMath, ExpOfTinyArgumentsIsOneOrItsNeighbour) {
  std::vector<float> x;
  for (int e = -149; e < -20; ++e) x.insert(x.end(), {std::ldexp(1.0f, e), -std::ldexp(1.0f, e)});
  const std::vector<float> y = exp_of(x);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_LE(ulp_error(y[i], std::exp(static_cast<double>(x[i]))), 1) << x[i];
}

TEST_P(SimdMath, ExpOfSpecialValues) {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float max = std::numeric_limits<float>::max();
  const std::vector<float> y =
      exp_of({0.0f, -0.0f, inf, -inf, nan, max, -max, 88.73f, 100.0f, -104.0f, -103.0f, -inf, nan});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], inf);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(y[3]), 0u);  // +0
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], inf);
  EXPECT_EQ(y[6], 0.0f);
  EXPECT_EQ(y[7], inf);
  EXPECT_EQ(y[8], inf);
  EXPECT_EQ(y[9], 0.0f);
  EXPECT_EQ(y[10], std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(y[11], 0.0f);
  EXPECT_TRUE(std::isnan(y[12]));
}

#if HWY_ARCH_X86
INSTANTIATE_TEST_SUITE_P(Targets, SimdMath, ::testing::Values(HWY_AVX3, HWY_AVX2, HWY_SSE4),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });
#else
INSTANTIATE_TEST_SUITE_P(Targets, SimdMath, ::testing::Values(HWY_STATIC_TARGET),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });
#endif

}  // namespace
}  // namespace accrue::kernels::cpu::simd_math_test
#endif
