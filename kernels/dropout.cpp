#include "kernels/dropout.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void dropout(const Dropout& op) {
  constexpr std::string_view name = "dropout";
  const Operand out{"out", op.out.tensor}, x{"x", op.x};
  require_defined(name, {out, x});
  require_same_device(name, {x, out});
  require_float(name, x);
  check(op.x.shape().rank() >= 1, "{}: x must have at least 1 axis, that of the samples, but has shape {}", name,
        op.x.shape());
  require_shape(name, out, op.x.shape(), "like x");
  require_dtype(name, out, op.x.dtype());
  require_no_partial_overlap(name, out, x);
  check(op.p >= 0 && op.p < 1, "{}: p must be in [0, 1), but is {}", name, op.p);
  // Four elements draw from one counter of 32 bits.
  check(op.x.shape()[0] == 0 || op.x.numel() / op.x.shape()[0] <= (std::int64_t{1} << 34),
        "{}: a sample of x must have at most 2^34 elements, but x has shape {}", name, op.x.shape());
  run_on(op.x, op, ACCRUE_BACKENDS(dropout));
}

OperationCost cost_of(const Dropout& op) { return {.bytes = bytes_of(op.out) + bytes_of(op.x)}; }

}  // namespace accrue::kernels
