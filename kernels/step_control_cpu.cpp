#include <cmath>

#include "kernels/clip_factor.h"
#include "kernels/cpu/step_state.h"
#include "kernels/loss_terms.h"
#include "kernels/step_control.h"

namespace accrue::kernels::cpu {

void add_loss_terms(const AddLossTerms& op) {
  const auto& terms = *reinterpret_cast<const LossTerms*>(op.terms.raw());
  StepState& state = state_of(op.state);
  state.loss_sum += terms.sum;
  state.target_count += terms.count;
}

void begin_step(const BeginStep& op) {
  StepState& state = state_of(op.state);
  state.learning_rate = static_cast<float>(schedule_value(op.schedule, state.update));
  state.apply = state.target_count > 0 && state.found_inf == 0 ? 1 : 0;
  state.factor = 0;
  state.grad_norm = 0;
  if (state.target_count <= 0) return;
  const double divisor = op.divisor_override > 0 ? op.divisor_override : static_cast<double>(state.target_count);
  const double scale = 1 / (static_cast<double>(state.loss_scale) * divisor);
  const double norm = std::sqrt(state.squared_norm) * scale;
  state.grad_norm = static_cast<float>(norm);
  if (state.apply != 0) state.factor = static_cast<float>(clip_factor(norm, op.max_norm) * scale);
}

void finish_step(const FinishStep& op) {
  StepState& state = state_of(op.state);
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

}  // namespace accrue::kernels::cpu
