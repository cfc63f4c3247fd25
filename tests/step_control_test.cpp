#include "kernels/step_control.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/loss_terms.h"
#include "testing/compare.h"
#include "testing/step_states.h"
#include "testing/sweep.h"

namespace accrue::kernels::step_control_test {
namespace {

using namespace accrue::testing;

StepState begun(Device device, const StepState& before, BeginStep op = {}) {
  op.state = step_state_of(before, device);
  begin_step(op);
  return read_step_state(op.state);
}

StepState finished(Device device, const StepState& before, FinishStep op = {}) {
  op.state = step_state_of(before, device);
  finish_step(op);
  return read_step_state(op.state);
}

Tensor terms_of(double sum, std::int64_t count, Device device = Device::cpu()) {
  const Tensor tensor = empty_loss_terms(device);
  const LossTerms terms{.sum = sum, .count = count};
  Allocator::of(device).memory().copy_from_host(tensor.raw(), &terms, sizeof terms);
  return tensor;
}

TEST(StepState, SurvivesWritingAndReading) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState value{
        .loss_sum = 1.25, .target_count = 7, .factor = 0.5f, .loss_scale = 1024, .update = 9, .skipped = 2};
    const StepState back = read_step_state(step_state_of(value, device));
    EXPECT_EQ(back.loss_sum, 1.25);
    EXPECT_EQ(back.target_count, 7);
    EXPECT_EQ(back.factor, 0.5f);
    EXPECT_EQ(back.loss_scale, 1024);
    EXPECT_EQ(back.update, 9);
    EXPECT_EQ(back.skipped, 2);
  }
}

TEST(StepState, StartsWithCountersAtZeroAndScaleOne) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState state = read_step_state(make_step_state(device));
    EXPECT_EQ(state.update + state.skipped + state.empty + state.target_count + state.found_inf, 0);
    EXPECT_EQ(state.loss_scale, 1);
  }
}

TEST(StepState, RefusesATensorOfAnotherKind) {
  EXPECT_EQ(error_message([] { read_step_state(Tensor()); }), "read_step_state: state must be given");
  EXPECT_EQ(error_message([] { write_step_state(Tensor::zeros({2}), {}); }),
            "write_step_state: state must be u8, but is f32");
}

TEST(AddLossTerms, SumsLossesAndTargetsInF64) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor state = make_step_state(device);
    for (const auto& [sum, count] : {std::pair{0.1, 3}, {0.2, 0}, {1e17, 5}})
      add_loss_terms({.state = state, .terms = terms_of(sum, count, device)});
    EXPECT_EQ(read_step_state(state).loss_sum, 0.1 + 0.2 + 1e17);
    EXPECT_EQ(read_step_state(state).target_count, 8);
    add_loss_terms({.state = state, .terms = terms_of(std::nan(""), 1, device)});
    EXPECT_TRUE(std::isnan(read_step_state(state).loss_sum));
  }
}

TEST(AddLossTerms, RefusesWrongOperandsByName) {
  const Tensor state = make_step_state(Device::cpu());
  EXPECT_EQ(error_message([&] { add_loss_terms({.terms = terms_of(0, 0)}); }), "add_loss_terms: state must be given");
  EXPECT_EQ(error_message([&] { add_loss_terms({.state = state}); }), "add_loss_terms: terms must be given");
  EXPECT_EQ(error_message([&] { add_loss_terms({.state = state, .terms = Tensor::zeros({16})}); }),
            "add_loss_terms: terms must be u8, but is f32");
  EXPECT_EQ(error_message([&] { add_loss_terms({.state = state, .terms = Tensor::zeros({8}, DType::u8)}); }),
            "add_loss_terms: terms must have shape [16] as made by empty_loss_terms, but has [8]");
}

// The buffer holds sigma times the sum over 4 targets; its norm is sqrt(1600) = 40.
const StepState window{.target_count = 4, .squared_norm = 1600, .loss_scale = 2};

TEST(BeginStep, DividesByLossScaleAndTargetsOnce) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState state = begun(device, window);
    EXPECT_EQ(state.apply, 1);
    EXPECT_EQ(state.factor, 1.0f / 8);
    EXPECT_EQ(state.grad_norm, 5);
  }
}

TEST(BeginStep, ClipsTheNormalisedGradient) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState clipped = begun(device, window, {.max_norm = 1});
    EXPECT_EQ(clipped.grad_norm, 5);  // before clipping
    EXPECT_FLOAT_EQ(clipped.factor, static_cast<float>(1 / (5 + 1e-6) / 8));
    EXPECT_EQ(begun(device, window, {.max_norm = 6}).factor, 1.0f / 8);
  }
}

TEST(BeginStep, DividesByTheOverrideInstead) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const StepState state = begun(device, window, {.divisor_override = 10});
    EXPECT_EQ(state.factor, 1.0f / 20);
    EXPECT_EQ(state.grad_norm, 2);
    StepState empty = window;
    empty.target_count = 0;
    EXPECT_EQ(begun(device, empty, {.divisor_override = 10}).apply, 0);
  }
}

TEST(BeginStep, ResultDoesNotDependOnTheLossScale) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    for (const float scale : {1.0f, 0x1p8f, 0x1p16f}) {
      StepState scaled = window;
      scaled.loss_scale = scale;
      scaled.squared_norm = 1600.0 / 4 * scale * scale;
      const StepState state = begun(device, scaled, {.max_norm = 1});
      EXPECT_EQ(state.grad_norm, 5);
      EXPECT_EQ(state.factor * scale, begun(device, window, {.max_norm = 1}).factor * 2);
    }
  }
}

TEST(BeginStep, AWindowWithoutTargetsDoesNotApply) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    StepState empty = window;
    empty.target_count = 0;
    for (const double squared_norm : {0.0, 5.0, std::nan("")}) {
      empty.squared_norm = squared_norm;
      const StepState state = begun(device, empty, {.max_norm = 1});
      EXPECT_EQ(state.apply, 0);
      EXPECT_EQ(state.factor, 0);
      EXPECT_EQ(state.grad_norm, 0);
    }
  }
}

TEST(BeginStep, AnOverflowIsShownAndNotApplied) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    for (const double squared_norm : {std::numeric_limits<double>::infinity(), std::nan("")}) {
      StepState overflowed = window;
      overflowed.squared_norm = squared_norm;
      overflowed.found_inf = 3;  // any value but zero
      const StepState state = begun(device, overflowed, {.max_norm = 1});
      EXPECT_EQ(state.apply, 0);
      EXPECT_EQ(state.factor, 0);
      EXPECT_FALSE(std::isfinite(state.grad_norm));
    }
    // Sticky from an earlier micro-batch, although the values cancelled since.
    StepState cancelled = window;
    cancelled.found_inf = 1;
    EXPECT_EQ(begun(device, cancelled).apply, 0);
    EXPECT_EQ(begun(device, cancelled).factor, 0);
  }
}

TEST(BeginStep, LearningRateFollowsUpdatesOnly) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    StepState state = window;
    state.update = 2;
    state.skipped = 100;
    state.empty = 100;
    EXPECT_FLOAT_EQ(begun(device, state, {.schedule = {.peak = 0.1, .warmup = 10}}).learning_rate, 0.03f);
  }
}

// The cosine is a device's own, in f64; rounded to f32 it may differ by one step.
TEST(BeginStep, LearningRateIsTheSchedulesOnEveryDevice) {
  for (const Device device : devices())
    for (const ScheduleKind kind :
         {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::wsd})
      for (const std::int64_t update : {0, 3, 4, 7, 15, 18, 20, 90}) {
        SCOPED_TRACE(fmt::format("schedule {} at {} on {}", static_cast<int>(kind), update, device.to_string()));
        const ScheduleParameters schedule{
            .kind = kind, .peak = 0.3, .minimum = 0.01, .warmup = 4, .total = 20, .decay = 5};
        StepState state = window;
        state.update = update;
        const double expected = schedule_value(schedule, update);
        EXPECT_NEAR(static_cast<double>(begun(device, state, {.schedule = schedule}).learning_rate), expected,
                    2 * unit_roundoff(DType::f32) * expected);
      }
}

TEST(BeginStep, RefusesImpossibleOptions) {
  EXPECT_EQ(error_message([] { begin_step({}); }), "begin_step: state must be given");
  EXPECT_EQ(error_message([] { begun(Device::cpu(), {}, {.max_norm = -1}); }),
            "begin_step: max_norm must not be negative, but is -1");
  EXPECT_EQ(error_message([] { begun(Device::cpu(), {}, {.divisor_override = -2}); }),
            "begin_step: divisor_override must not be negative, but is -2");
}

TEST(FinishStep, CountsEveryWindowOnce) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    StepState state = window;
    state.apply = 1;
    state.floor_overflows = 3;
    const StepState applied = finished(device, state);
    EXPECT_EQ(applied.update, 1);
    EXPECT_EQ(applied.skipped + applied.empty, 0);
    EXPECT_EQ(applied.floor_overflows, 0);
    EXPECT_EQ(applied.held, 0);

    state.apply = 0;
    state.found_inf = 1;
    const StepState skipped = finished(device, state);
    EXPECT_EQ(skipped.skipped, 1);
    EXPECT_EQ(skipped.floor_overflows, 4);
    EXPECT_EQ(skipped.held, 1);
    EXPECT_EQ(skipped.update + skipped.empty, 0);

    state.target_count = 0;
    const StepState empty = finished(device, state);
    EXPECT_EQ(empty.empty, 1);
    EXPECT_EQ(empty.update + empty.skipped, 0);
  }
}

TEST(FinishStep, CountsAReplayApartAndSkipsWhereTheScaleCannotFall) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    StepState state = window;
    state.apply = 0;
    state.found_inf = 1;
    const FinishStep replay{.scaling = {.dynamic = true}, .on_overflow = OnOverflow::replay};
    const StepState replayed = finished(device, state, replay);
    EXPECT_EQ(replayed.replayed, 1);
    EXPECT_EQ(replayed.update + replayed.skipped + replayed.empty, 0);
    EXPECT_EQ(replayed.loss_scale, 1);
    EXPECT_EQ(replayed.held, 1);

    state.loss_scale = 1;
    const StepState skipped = finished(device, state, replay);
    EXPECT_EQ(skipped.replayed, 0);
    EXPECT_EQ(skipped.skipped, 1);
    EXPECT_EQ(skipped.floor_overflows, 1);
  }
}

// Windows that were begun before anybody knew of the overflow before them leave no trace.
TEST(FinishStep, AHeldWindowIsNeitherAppliedNorCounted) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    for (const std::int32_t found_inf : {0, 1}) {
      StepState state = window;
      state.held = 1;
      state.found_inf = found_inf;
      state.clean_windows = 5;
      EXPECT_EQ(begun(device, state).apply, 0);
      EXPECT_EQ(begun(device, state).factor, 0);
      const StepState after = finished(device, state, {.scaling = {.dynamic = true}});
      EXPECT_EQ(after.update + after.skipped + after.empty + after.replayed, 0);
      EXPECT_EQ(after.loss_scale, state.loss_scale);
      EXPECT_EQ(after.clean_windows, 5);
      EXPECT_EQ(after.held, 1);
      EXPECT_EQ(after.target_count, 0);
      EXPECT_EQ(after.found_inf, 0);
    }
  }
}

TEST(FinishStep, ClearsTheWindowAndKeepsWhatTheLogReads) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    StepState state = window;
    state.loss_sum = 3;
    state.found_inf = 1;
    state.grad_norm = 5;
    state.learning_rate = 0.25f;
    const StepState after = finished(device, state);
    EXPECT_EQ(after.loss_sum, 0);
    EXPECT_EQ(after.target_count, 0);
    EXPECT_EQ(after.squared_norm, 0);
    EXPECT_EQ(after.found_inf, 0);
    EXPECT_EQ(after.grad_norm, 5);
    EXPECT_EQ(after.learning_rate, 0.25f);
    EXPECT_EQ(after.loss_scale, 2);
    EXPECT_EQ(error_message([] { finish_step({}); }), "finish_step: state must be given");
  }
}

}  // namespace
}  // namespace accrue::kernels::step_control_test
