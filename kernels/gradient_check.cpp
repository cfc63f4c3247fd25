#include "kernels/gradient_check.h"

#include "kernels/step_state_check.h"

namespace accrue::kernels {

void gradient_check(const GradientCheck& op) {
  require_step_state("gradient_check", op.state);
  require_defined("gradient_check", {{"gradient", op.gradient}});
  require_same_device("gradient_check", {{"state", op.state}, {"gradient", op.gradient}});
  require_gradient_dtype("gradient_check", {"gradient", op.gradient});
  run_on(op.gradient, op, ACCRUE_BACKENDS(gradient_check));
}

OperationCost cost_of(const GradientCheck& op) {
  return {.flop = 2 * count_of(op.gradient), .bytes = bytes_of(op.gradient)};
}

}  // namespace accrue::kernels
