#include "kernels/scale.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void scale(const Scale& op) {
  const Operand out{"out", op.out}, x{"x", op.x}, factor{"factor_device", op.factor_device};
  require_defined("scale", {out, x});
  require_same_device("scale", {out, x, factor});
  require_float("scale", x);
  require_dtype("scale", out, op.x.dtype());
  require_shape("scale", out, op.x.shape(), "like x");
  require_no_partial_overlap("scale", out, x);
  if (op.factor_device.defined()) {
    require_dtype("scale", factor, DType::f32);
    require_shape("scale", factor, {1}, "as a scalar");
  }
  run_on(op.out, op, ACCRUE_BACKENDS(scale));
}

OperationCost cost_of(const Scale& op) { return {.flop = count_of(op.x), .bytes = bytes_of(op.out, op.x)}; }

}  // namespace accrue::kernels
