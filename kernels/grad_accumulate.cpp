#include "kernels/grad_accumulate.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void grad_accumulate(const GradAccumulate& op) {
  const Operand acc{"acc", op.acc.tensor}, incoming{"incoming", op.incoming};
  require_defined("grad_accumulate", {acc, incoming});
  require_same_device("grad_accumulate", {acc, incoming});
  require_gradient_dtype("grad_accumulate", acc);
  require_float("grad_accumulate", incoming);
  require_shape("grad_accumulate", incoming, op.acc.tensor.shape(), "like acc");
  require_no_partial_overlap("grad_accumulate", acc, incoming);
  run_on(op.acc.tensor, op, ACCRUE_BACKENDS(grad_accumulate));
}

OperationCost cost_of(const GradAccumulate& op) {
  return {.flop = 2 * count_of(op.incoming), .bytes = bytes_of(op.acc) + bytes_of(op.incoming)};
}

}  // namespace accrue::kernels
