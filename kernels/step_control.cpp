#include "kernels/step_control.h"

#include "kernels/loss_terms.h"
#include "kernels/step_state_check.h"

namespace accrue::kernels {

void add_loss_terms(const AddLossTerms& op) {
  const Operand terms{"terms", op.terms};
  require_step_state("add_loss_terms", op.state);
  require_defined("add_loss_terms", {terms});
  require_same_device("add_loss_terms", {{"state", op.state}, terms});
  require_dtype("add_loss_terms", terms, DType::u8);
  require_shape("add_loss_terms", terms, {sizeof(LossTerms)}, "as made by empty_loss_terms");
  run_on(op.state, op, ACCRUE_BACKENDS(add_loss_terms));
}

void begin_step(const BeginStep& op) {
  require_step_state("begin_step", op.state);
  check(op.divisor_override >= 0, "begin_step: divisor_override must not be negative, but is {}", op.divisor_override);
  check(op.max_norm >= 0, "begin_step: max_norm must not be negative, but is {}", op.max_norm);
  run_on(op.state, op, ACCRUE_BACKENDS(begin_step));
}

void finish_step(const FinishStep& op) {
  require_step_state("finish_step", op.state);
  run_on(op.state, op, ACCRUE_BACKENDS(finish_step));
}

OperationCost cost_of(const AddLossTerms& op) { return {.bytes = 2 * bytes_of(op.state) + bytes_of(op.terms)}; }
OperationCost cost_of(const BeginStep& op) { return {.bytes = 2 * bytes_of(op.state)}; }
OperationCost cost_of(const FinishStep& op) { return {.bytes = 2 * bytes_of(op.state)}; }

}  // namespace accrue::kernels
