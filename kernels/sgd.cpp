#include "kernels/sgd.h"

#include "kernels/step_state_check.h"

namespace accrue::kernels {

void sgd(const Sgd& op) {
  const Operand master{"master", op.master}, buffer{"buffer", op.buffer}, gradient{"gradient", op.gradient},
      compute{"compute", op.compute}, state{"state", op.state};
  require_step_state("sgd", op.state);
  require_defined("sgd", {master, gradient});
  require_same_device("sgd", {master, buffer, gradient, compute, state});
  check(op.buffer.defined() == (op.momentum != 0), "sgd: buffer must be {} with momentum {}, but is {}",
        op.momentum != 0 ? "given" : "left out", op.momentum, op.buffer.defined() ? "given" : "left out");
  check(!op.nesterov || op.momentum != 0, "sgd: nesterov must come with a momentum, but momentum is 0");
  for (const Operand& x : {master, buffer, gradient}) {
    if (x.tensor.defined()) require_shape("sgd", x, op.master.shape(), "like master");
  }
  require_dtype("sgd", master, DType::f32);
  if (op.buffer.defined()) require_dtype("sgd", buffer, DType::f32);
  require_gradient_dtype("sgd", gradient);
  if (op.compute.defined()) {
    require_float("sgd", compute);
    require_shape("sgd", compute, op.master.shape(), "like master");
  }
  require_disjoint("sgd", master, {buffer, gradient, compute});
  require_disjoint("sgd", buffer, {gradient, compute});
  require_disjoint("sgd", gradient, {compute});
  run_on(op.master, op, ACCRUE_BACKENDS(sgd));
}

OperationCost cost_of(const Sgd& op) {
  return {.flop = 6 * count_of(op.master),
          .bytes = 2 * bytes_of(op.master, op.buffer) + bytes_of(op.gradient, op.compute)};
}

}  // namespace accrue::kernels
