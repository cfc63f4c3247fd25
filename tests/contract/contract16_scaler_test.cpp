// Contract 13, 16 and 19: the loss scale over a run, and what does not depend on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/adamw.h"
#include "kernels/cast.h"
#include "kernels/scale.h"
#include "kernels/step_control.h"
#include "tests/testing/poison.h"
#include "tests/testing/step_states.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::testing::scaler {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using train::Outcome;
using Gpt = Training<nn::Gpt>;
using PoisonedMlp = Training<Poisoned<nn::Mlp>>;

constexpr float infinity = std::numeric_limits<float>::infinity();

train::AccumulatorOptions dynamic(std::int64_t interval, float first = 0x1p16f) {
  return {.schedule = {.peak = 1e-2},
          .max_norm = 1,
          .scaling = {.dynamic = true, .interval = interval},
          .loss_scale = first};
}

float scale_of(const Tape& tape) { return tape.context().loss_scale.to_vector<float>().at(0); }

// A classifier whose gradient overflows while the loss scale is at least `limit`, as half precision's would.
struct Limited {
  Limited(Device device, const train::AccumulatorOptions& options, float overflows_from)
      : limit(overflows_from),
        training(Poisoned(nn::Mlp({4, 5, 3})), device, options),
        samples(class_samples(6, 4, 3, 1, device)) {
    training.model.poison = [this](const Tape& tape) {
      scales.push_back(scale_of(tape));
      if (scales.back() < limit) return std::vector<Poison>();
      return std::vector<Poison>{{.parameter = training.parameters.parameters().front(), .value = infinity}};
    };
  }
  train::WindowReport window() { return training.window(samples, {2, 2, 2}); }

  float limit;
  std::vector<float> scales;  // of every micro-batch
  PoisonedMlp training;
  Samples samples;
};

TEST(Contract13, TheScaleIsConstantInAWindowAndAPowerOfTwo) {
  for (const Device device : devices()) {
    Limited limited(device, dynamic(1, 0x1p3f), 0x1p6f);
    for (int i = 0; i < 12; ++i) limited.window();
    ASSERT_EQ(limited.scales.size(), 36u);
    int exponent = 0;
    for (std::size_t i = 0; i < 36; i += 3) {
      EXPECT_EQ(limited.scales[i], limited.scales[i + 1]);
      EXPECT_EQ(limited.scales[i], limited.scales[i + 2]);
      EXPECT_EQ(std::frexp(limited.scales[i], &exponent), 0.5f);
    }
  }
}

TEST(Contract16, TheScaleGrowsAfterCleanWindowsAndFallsOncePerOverflow) {
  for (const Device device : devices()) {
    Limited limited(device, dynamic(2, 0x1p3f), 0x1p5f);
    std::vector<double> scales;
    for (int i = 0; i < 9; ++i) scales.push_back(limited.window().loss_scale);
    EXPECT_THAT(scales, ElementsAre(8, 8, 16, 16, 32, 16, 16, 32, 16));
    const train::Counters counters = limited.training.accumulator.counters();
    EXPECT_EQ(counters.skipped, 2);
    EXPECT_EQ(counters.update, 7);
  }
}

TEST(Contract16, OnlyAtTheFloorDoesThePatienceRunOut) {
  for (const Device device : devices()) {
    train::AccumulatorOptions options = dynamic(2000, 0x1p3f);
    options.patience = 2;
    Limited limited(device, options, 0);  // overflows always
    const TrainingBits before = limited.training.bits();
    std::vector<double> scales;
    for (int i = 0; i < 4; ++i) scales.push_back(limited.window().loss_scale);
    EXPECT_THAT(scales, ElementsAre(8, 4, 2, 1));
    EXPECT_THAT(error_message([&] { limited.window(); }, ErrorKind::numeric),
                AllOf(HasSubstr("2 windows in a row"), HasSubstr("at its floor, 1"), HasSubstr("update 0")));
    EXPECT_EQ(limited.training.bits(), before);
    EXPECT_EQ(limited.training.accumulator.counters().skipped, 5);
  }
}

TEST(Contract16, AScaleThatIsNoPowerOfTwoOrOutOfItsBoundsIsRefused) {
  const auto refusal = [](const train::AccumulatorOptions& options) {
    return error_message([&] { Gpt training(nn::Gpt(small_gpt()), Device::cpu(), options); }, ErrorKind::usage);
  };
  EXPECT_THAT(refusal({.loss_scale = 3}), HasSubstr("the loss scale must be a power of two, but is 3"));
  EXPECT_THAT(refusal({.loss_scale = 0}), HasSubstr("power of two"));
  EXPECT_THAT(refusal({.loss_scale = infinity}), HasSubstr("power of two"));
  EXPECT_THAT(refusal({.scaling = {.dynamic = true, .growth = 3}}), HasSubstr("growth of the loss scale"));
  EXPECT_THAT(refusal({.scaling = {.dynamic = true, .growth = 0.5f}}), HasSubstr("must grow"));
  EXPECT_THAT(refusal({.scaling = {.dynamic = true, .backoff = 0.3f}}), HasSubstr("backoff of the loss scale"));
  EXPECT_THAT(refusal({.scaling = {.dynamic = true}, .loss_scale = 0x1p30f}), HasSubstr("must begin between 1 and"));
  EXPECT_THAT(refusal({.scaling = {.dynamic = true, .interval = 0}}), HasSubstr("at least 1 window"));
  EXPECT_THAT(refusal({.on_overflow = kernels::OnOverflow::replay}), HasSubstr("needs a dynamic loss scale"));
}

TEST(Contract19, TheUpdateIsTheSameToTheBitForEveryScaleInF32) {
  for (const Device device : devices()) {
    std::vector<TrainingBits> results;
    for (const float scale : {1.0f, 0x1p8f, 0x1p16f}) {
      Gpt training{
          nn::Gpt(small_gpt(0.1f)), device, {.schedule = {.peak = 1e-2}, .max_norm = 0.5, .loss_scale = scale}};
      for (const std::uint64_t seed : {1, 2, 3})
        EXPECT_EQ(training.window(gpt_samples(small_gpt(), unequal_counts(6), seed, device), {2, 3, 1}).loss_scale,
                  scale);
      results.push_back(training.bits());
    }
    EXPECT_EQ(results[1], results[0]);
    EXPECT_EQ(results[2], results[0]);
  }
}

// What others do in four passes: divide by sigma W, scale to the norm, update, round the copy.
struct Unfused {
  Tensor master, m, v, compute;

  void step(const Tensor& gradient, const kernels::StepState& state, double clip, const optim::AdamWOptions& adam) {
    const Tensor unscaled = Tensor::empty(gradient.shape(), DType::f32, gradient.device()), clipped = unscaled.clone();
    const double divisor = static_cast<double>(state.loss_scale) * static_cast<double>(state.target_count);
    kernels::scale({.out = unscaled, .x = gradient, .factor_host = static_cast<float>(1 / divisor)});
    kernels::scale({.out = clipped, .x = unscaled, .factor_host = static_cast<float>(clip)});
    kernels::StepState plain = state;
    plain.factor = 1;
    kernels::adamw({.master = master,
                    .m = m,
                    .v = v,
                    .gradient = clipped,
                    .state = step_state_of(plain, gradient.device()),
                    .beta1 = adam.beta1,
                    .beta2 = adam.beta2,
                    .eps = adam.eps,
                    .weight_decay = adam.weight_decay});
    kernels::cast({.out = compute, .x = master});
  }
};

// The fused step rounds the factor once and its product with a gradient once; unfused, each of two factors and of two
// products is rounded. The gradients then differ by at most 3 units in the last place (u each), m by as much and v by
// twice that, plus what either computes after: 6 and 12 units of m and v are never exceeded. A weight differs by its
// own rounding and by its step's 20 units.
TEST(Contract19, TheFusedStepAgreesWithAnUnfusedOne) {
  for (const Device device : devices()) {
    constexpr std::int64_t count = 5000;
    const optim::AdamWOptions adam{.weight_decay = 0.1};
    const Tensor start = random_tensor({count}, 1, DType::f32, device),
                 gradient = random_tensor({count}, 2, DType::f32, device, 0, 1e5f);
    const auto zeros = [&] { return Tensor::zeros({count}, DType::f32, device); };
    const auto half = [&] { return Tensor::zeros({count}, DType::f16, device); };
    kernels::StepState begun;
    begun.target_count = 77;
    begun.loss_scale = 0x1p10f;
    begun.squared_norm = 0;
    for (const double g : to_doubles(gradient)) begun.squared_norm += g * g;
    const Tensor state = step_state_of(begun, device);
    kernels::begin_step({.state = state, .schedule = {.peak = 1e-2}, .max_norm = 0.5});
    const kernels::StepState step = kernels::read_step_state(state);
    ASSERT_EQ(step.apply, 1);

    const Tensor master = start.clone(), m = zeros(), v = zeros(), compute = half();
    kernels::adamw({.master = master,
                    .m = m,
                    .v = v,
                    .compute = compute,
                    .gradient = gradient,
                    .state = state,
                    .beta1 = adam.beta1,
                    .beta2 = adam.beta2,
                    .eps = adam.eps,
                    .weight_decay = adam.weight_decay});
    Unfused unfused{.master = start.clone(), .m = zeros(), .v = zeros(), .compute = half()};
    const double norm = static_cast<double>(step.grad_norm);
    unfused.step(gradient, step, 0.5 / (norm + 1e-6), adam);

    const auto expect_within = [&](const Tensor& actual, const Tensor& expected, double units, double step_units) {
      const std::vector<double> values = to_doubles(expected);
      std::vector<double> bounds(values.size());
      for (std::size_t i = 0; i < values.size(); ++i)
        bounds[i] = units * u * std::abs(values[i]) + step_units * u * 1e-2;
      EXPECT_TRUE(within(actual, values, bounds));
    };
    expect_within(m, unfused.m, 6, 0);
    expect_within(v, unfused.v, 12, 0);
    expect_within(master, unfused.master, 2, 20);
    // The copy is the master rounded, whichever way.
    const Tensor rounded = half();
    kernels::cast({.out = rounded, .x = master});
    EXPECT_EQ(to_doubles(compute), to_doubles(rounded));
  }
}

// Half precision in earnest, where the build has a device that computes in it: the scale finds its level by itself.
TEST(Contract16, F16FindsAScaleThatDoesNotOverflow) {
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cpu) continue;
    train::AccumulatorOptions options = dynamic(1000, 0x1p24f);
    options.on_overflow = kernels::OnOverflow::replay;
    Gpt training{nn::Gpt(small_gpt()), device, options, optim::AdamWOptions{}, DType::f16};
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(4), 1, device);
    std::vector<Outcome> outcomes;
    double scale = 0;
    for (int i = 0; i < 30 && (outcomes.empty() || outcomes.back() != Outcome::updated); ++i) {
      const train::WindowReport report = training.window(samples, {2, 2});
      outcomes.push_back(report.outcome);
      scale = report.loss_scale;
    }
    // dlogits are about as large as the scale, and the largest f16 is 65504.
    EXPECT_GT(std::ssize(outcomes), 4);
    EXPECT_EQ(outcomes.back(), Outcome::updated);
    EXPECT_LE(scale, 0x1p17f);
    EXPECT_GE(scale, 0x1p10f);
    EXPECT_EQ(training.accumulator.counters().window, 1);
  }
}

}  // namespace
}  // namespace accrue::testing::scaler
