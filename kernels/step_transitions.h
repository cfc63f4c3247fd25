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
  state.apply = state.target_count > 0 && state.found_inf == 0 ? 1 : 0;
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

ACCRUE_HOST_DEVICE inline void finish(StepState& state) {
  if (state.apply != 0) {
    ++state.update;
    state.skipped_in_a_row = 0;
  } else if (state.target_count <= 0) {
    ++state.empty;
  } else {
    ++state.skipped;
    ++state.skipped_in_a_row;
  }
  state.loss_sum = 0;
  state.target_count = 0;
  state.squared_norm = 0;
  state.found_inf = 0;
}

}  // namespace accrue::kernels
