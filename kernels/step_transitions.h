// What the step's kernels do to a step state, as functions usable on host and device.
#pragma once

#include <cmath>

#include "core/host_device.h"
#include "kernels/clip_factor.h"
#include "kernels/step_control.h"

namespace accrue::kernels {

// A BeginStep without its tensor.
struct StepOptions {
  ScheduleParameters schedule;
  double divisor_override;
  double max_norm;
};

inline StepOptions options_of(const BeginStep& op) {
  return {.schedule = op.schedule, .divisor_override = op.divisor_override, .max_norm = op.max_norm};
}

ACCRUE_HOST_DEVICE inline void add_terms(StepState& state, const LossTerms& terms) {
  state.loss_sum += terms.sum;
  state.target_count += terms.count;
}

ACCRUE_HOST_DEVICE inline void begin(StepState& state, const StepOptions& options) {
  state.learning_rate = static_cast<float>(schedule_value(options.schedule, state.update));
  state.apply = state.target_count > 0 && state.found_inf == 0 && state.held == 0 ? 1 : 0;
  state.factor = 0;
  state.grad_norm = 0;
  if (state.target_count <= 0) return;
  const double divisor =
      options.divisor_override > 0 ? options.divisor_override : static_cast<double>(state.target_count);
  const double scale = 1 / (static_cast<double>(state.loss_scale) * divisor);
  const double norm = std::sqrt(state.squared_norm) * scale;
  state.grad_norm = static_cast<float>(norm);
  if (state.apply != 0) state.factor = static_cast<float>(clip_factor(norm, options.max_norm) * scale);
}

ACCRUE_HOST_DEVICE inline void count_overflow(StepState& state, const LossScaling& scaling, OnOverflow on_overflow) {
  const bool at_floor = scaling.at_floor(state.loss_scale);
  if (on_overflow == OnOverflow::replay && !at_floor)
    ++state.replayed;
  else
    ++state.skipped;
  if (at_floor) ++state.floor_overflows;
  state.held = 1;
}

ACCRUE_HOST_DEVICE inline void count_window(StepState& state, const LossScaling& scaling, OnOverflow on_overflow) {
  ScaleState scale{.scale = state.loss_scale, .clean_windows = state.clean_windows};
  if (state.apply != 0) {
    ++state.update;
    state.floor_overflows = 0;
    scale = after_clean_window(scaling, scale);
  } else if (state.target_count <= 0) {
    ++state.empty;
  } else {
    count_overflow(state, scaling, on_overflow);
    scale = after_overflow(scaling, scale);
  }
  state.loss_scale = scale.scale;
  state.clean_windows = scale.clean_windows;
}

ACCRUE_HOST_DEVICE inline void finish(StepState& state, const LossScaling& scaling, OnOverflow on_overflow) {
  if (state.held == 0) count_window(state, scaling, on_overflow);
  state.loss_sum = 0;
  state.target_count = 0;
  state.squared_norm = 0;
  state.found_inf = 0;
  state.overflowed = -1;
}

}  // namespace accrue::kernels
