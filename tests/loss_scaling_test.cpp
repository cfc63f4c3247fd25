#include "kernels/loss_scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/step_control.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::loss_scaling_test {
namespace {

using namespace accrue::testing;

enum class Event { clean, overflow, empty };

// Contract 16 in other words: exponents of two instead of numbers.
struct ReferenceScaler {
  int exponent = 16, least = 0, most = 24;
  std::int64_t interval = 2000, clean = 0, floor_overflows = 0;

  void operator()(Event event) {
    if (event == Event::empty) return;
    if (event == Event::overflow) {
      floor_overflows = exponent == least ? floor_overflows + 1 : floor_overflows;
      exponent = std::max(least, exponent - 1);
      clean = 0;
      return;
    }
    floor_overflows = 0;
    if (++clean == interval) exponent = std::min(most, exponent + 1), clean = 0;
  }
};

// One window's boundary as the accumulator has it, with a gradient that overflowed or not.
class Boundary {
 public:
  Boundary(Device device, const LossScaling& scaling, float scale)
      : state_(make_step_state(device)), scaling_(scaling) {
    StepState value;
    value.loss_scale = scale;
    write_step_state(state_, value);
  }
  StepState operator()(Event event) {
    StepState value = read_step_state(state_);
    value.target_count = event == Event::empty ? 0 : 4;
    value.found_inf = event == Event::overflow ? 1 : 0;
    value.held = 0;  // the host has seen what came before
    write_step_state(state_, value);
    begin_step({.state = state_});
    finish_step({.state = state_, .scaling = scaling_});
    return read_step_state(state_);
  }

 private:
  Tensor state_;
  LossScaling scaling_;
};

void expect_like_reference(Device device, std::int64_t events, std::int64_t interval, double overflows,
                           std::uint64_t seed) {
  Boundary boundary(device, {.dynamic = true, .interval = interval}, 0x1p16f);
  ReferenceScaler reference{.interval = interval};
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform;
  for (std::int64_t i = 0; i < events; ++i) {
    const double drawn = uniform(random);
    const Event event = drawn < overflows ? Event::overflow : drawn > 0.99 ? Event::empty : Event::clean;
    const StepState state = boundary(event);
    reference(event);
    ASSERT_EQ(state.loss_scale, std::ldexp(1.0f, reference.exponent)) << "event " << i;
    ASSERT_EQ(state.clean_windows, reference.clean) << "event " << i;
    ASSERT_EQ(state.floor_overflows, reference.floor_overflows) << "event " << i;
  }
}

TEST(LossScaling, FollowsTheReferenceOverAHundredThousandEvents) {
  // Rare overflows reach the cap, frequent ones the floor.
  expect_like_reference(Device::cpu(), 50'000, 50, 0.002, 1);
  expect_like_reference(Device::cpu(), 50'000, 7, 0.2, 2);
}

TEST(LossScaling, IsTheSameOnEveryDevice) {
  for (const Device device : devices()) {
    expect_like_reference(device, 400, 5, 0.05, 3);
    expect_like_reference(device, 400, 3, 0.6, 4);
  }
}

TEST(LossScaling, HasTheDefaultsOfTheContract) {
  const LossScaling scaling{.dynamic = true};
  ScaleState state{.scale = 0x1p16f};
  for (int i = 0; i < 1999; ++i) state = after_clean_window(scaling, state);
  EXPECT_EQ(state.scale, 0x1p16f);
  EXPECT_EQ(after_clean_window(scaling, state).scale, 0x1p17f);
  EXPECT_EQ(after_overflow(scaling, state).scale, 0x1p15f);
  EXPECT_EQ(after_overflow(scaling, state).clean_windows, 0);
}

TEST(LossScaling, StaysAtItsCapAndAtItsFloor) {
  const LossScaling scaling{.dynamic = true, .interval = 1};
  EXPECT_EQ(after_clean_window(scaling, {.scale = 0x1p24f}).scale, 0x1p24f);
  EXPECT_EQ(after_overflow(scaling, {.scale = 1}).scale, 1);
  EXPECT_TRUE(scaling.at_floor(1));
  EXPECT_FALSE(scaling.at_floor(2));
}

// A backoff that would lead below the floor leads to it.
TEST(LossScaling, IsAtItsFloorOnlyThere) {
  const LossScaling scaling{.dynamic = true, .backoff = 0.25f};
  EXPECT_FALSE(scaling.at_floor(2));
  EXPECT_EQ(after_overflow(scaling, {.scale = 2}).scale, 1);
  EXPECT_TRUE(scaling.at_floor(1));
}

TEST(LossScaling, StaticNeverChangesAndIsAlwaysAtItsFloor) {
  for (const Device device : devices()) {
    Boundary boundary(device, {}, 128);
    for (int i = 1; i <= 3; ++i) {
      const StepState state = boundary(Event::overflow);
      EXPECT_EQ(state.loss_scale, 128);
      EXPECT_EQ(state.floor_overflows, i);
    }
    EXPECT_EQ(boundary(Event::clean).floor_overflows, 0);
  }
}

TEST(LossScaling, TheLossReadsTheScaleFromTheState) {
  for (const Device device : devices()) {
    const Tensor state = make_step_state(device), scale = loss_scale_of(state);
    StepState value;
    value.loss_scale = 512;
    write_step_state(state, value);
    EXPECT_EQ(scale.to_vector<float>(), (std::vector<float>{512}));
  }
}

}  // namespace
}  // namespace accrue::kernels::loss_scaling_test
