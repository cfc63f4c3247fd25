#include "kernels/cpu/step_state.h"
#include "kernels/step_control.h"
#include "kernels/step_transitions.h"

namespace accrue::kernels::cpu {

void add_loss_terms(const AddLossTerms& op) {
  add_terms(state_of(op.state), *reinterpret_cast<const LossTerms*>(op.terms.raw()));
}

void begin_step(const BeginStep& op) { begin(state_of(op.state), options_of(op)); }

void finish_step(const FinishStep& op) { finish(state_of(op.state), op.scaling, op.on_overflow); }

}  // namespace accrue::kernels::cpu
