#include <cmath>

#include "kernels/clip_factor.h"
#include "kernels/step_control.h"

namespace accrue::kernels::cpu {
namespace {

// The u8 tensors that hold these records come from the allocator, which aligns to 64 bytes.
template <class Record>
Record& record_in(const Tensor& tensor) {
  return *reinterpret_cast<Record*>(tensor.data<std::uint8_t>());
}

}  // namespace

void add_loss_terms(const AddLossTerms& a) {
  auto& state = record_in<StepState>(a.state);
  const auto& terms = record_in<LossTerms>(a.terms);
  state.loss_sum += terms.sum;
  state.target_count += terms.count;
}

void begin_step(const BeginStep& a) {
  auto& state = record_in<StepState>(a.state);
  state.learning_rate = static_cast<float>(schedule_value(a.schedule, state.update));
  state.apply = state.target_count > 0 && state.found_inf == 0 ? 1 : 0;
  state.grad_norm = 0;
  state.factor = 0;
  if (state.target_count == 0) return;
  const double divisor = a.divisor_override > 0 ? a.divisor_override : static_cast<double>(state.target_count);
  const double scale = 1 / (static_cast<double>(state.loss_scale) * divisor);
  const double norm = std::sqrt(state.squared_norm) * scale;
  state.grad_norm = static_cast<float>(norm);
  if (state.apply != 0) state.factor = static_cast<float>(clip_factor(norm, a.max_norm) * scale);
}

void finish_step(const FinishStep& a) {
  auto& state = record_in<StepState>(a.state);
  if (state.apply != 0) {
    ++state.update;
    state.skipped_in_a_row = 0;
  } else if (state.target_count == 0) {
    ++state.empty;
  } else {
    ++state.skipped;
    ++state.skipped_in_a_row;
  }
  state.loss_sum = 0;
  state.target_count = 0;
  state.squared_norm = 0;
  state.found_inf = 0;
  state.apply = 0;
}

}  // namespace accrue::kernels::cpu
