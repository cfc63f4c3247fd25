#include "kernels/cast.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void cast(const Cast& op) {
  const Operand out{"out", op.out}, x{"x", op.x};
  require_defined("cast", {out, x});
  require_same_device("cast", {x, out});
  require_float("cast", x);
  require_float("cast", out);
  require_shape("cast", out, op.x.shape(), "like x");
  require_no_partial_overlap("cast", out, x);
  run_on(op.x, op, ACCRUE_BACKENDS(cast));
}

Tensor as_dtype(const Tensor& x, DType dtype, Category category) {
  if (x.dtype() == dtype) return x;
  const Tensor converted = Tensor::empty(x.shape(), dtype, x.device(), category);
  cast({.out = converted, .x = x});
  return converted;
}

OperationCost cost_of(const Cast& op) { return {.bytes = bytes_of(op.out, op.x)}; }

}  // namespace accrue::kernels
