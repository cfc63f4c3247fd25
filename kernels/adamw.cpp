#include "kernels/adamw.h"

#include "kernels/step_state_check.h"

namespace accrue::kernels {

void adamw(const AdamW& op) {
  const Operand master{"master", op.master}, m{"m", op.m}, v{"v", op.v}, gradient{"gradient", op.gradient},
      compute{"compute", op.compute}, state{"state", op.state};
  require_step_state("adamw", op.state);
  require_defined("adamw", {master, m, v, gradient});
  require_same_device("adamw", {master, m, v, gradient, compute, state});
  for (const Operand& x : {master, m, v, gradient}) {
    require_shape("adamw", x, op.master.shape(), "like master");
  }
  for (const Operand& x : {master, m, v}) require_dtype("adamw", x, DType::f32);
  require_gradient_dtype("adamw", gradient);
  if (op.compute.defined()) {
    require_float("adamw", compute);
    require_shape("adamw", compute, op.master.shape(), "like master");
  }
  require_disjoint("adamw", master, {m, v, gradient, compute});
  require_disjoint("adamw", m, {v, gradient, compute});
  require_disjoint("adamw", v, {gradient, compute});
  require_disjoint("adamw", gradient, {compute});
  check(op.beta1 >= 0 && op.beta1 < 1, "adamw: beta1 must be in [0, 1), but is {}", op.beta1);
  check(op.beta2 >= 0 && op.beta2 < 1, "adamw: beta2 must be in [0, 1), but is {}", op.beta2);
  run_on(op.master, op, ACCRUE_BACKENDS(adamw));
}

OperationCost cost_of(const AdamW& op) {
  return {.flop = 15 * count_of(op.master),
          .bytes = 2 * bytes_of(op.master, op.m, op.v) + bytes_of(op.gradient, op.compute)};
}

}  // namespace accrue::kernels
