#include "kernels/add.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void add(const Add& op) {
  require_defined("add", {{"out", op.out}, {"a", op.a}, {"b", op.b}});
  require_same_device("add", {{"out", op.out}, {"a", op.a}, {"b", op.b}});
  require_float("add", {"a", op.a});
  require_shape("add", {"b", op.b}, op.a.shape(), "like a");
  require_shape("add", {"out", op.out}, op.a.shape(), "like a");
  require_dtype("add", {"b", op.b}, op.a.dtype());
  require_dtype("add", {"out", op.out}, op.a.dtype());
  require_no_partial_overlap("add", {"out", op.out}, {"a", op.a});
  require_no_partial_overlap("add", {"out", op.out}, {"b", op.b});
  run_on(op.out, op, ACCRUE_BACKENDS(add));
}

OperationCost cost_of(const Add& op) { return {.flop = count_of(op.out), .bytes = bytes_of(op.out, op.a, op.b)}; }

}  // namespace accrue::kernels
