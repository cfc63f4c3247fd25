#include "kernels/matmul.h"

#include "kernels/backend.h"

namespace accrue::kernels {
namespace {

// The two extents of op(x), of the last two axes of a batched operand or of a tensor seen as a matrix.
struct Extents {
  std::int64_t rows, cols;
};

Extents extents_of(const Tensor& x, bool batched, bool transpose) {
  const Shape& shape = x.shape();
  const Extents stored = batched ? Extents{shape[-2], shape[-1]} : Extents{shape.rows(), shape.last()};
  return transpose ? Extents{stored.cols, stored.rows} : stored;
}

void check_ranks(const Matmul& op) {
  const int rank = op.b.shape().rank();
  check(rank == 2 || rank == 3, "matmul: b must have rank 2 or, batched, 3, but has shape {}", op.b.shape());
  for (const Operand& x : {Operand{"a", op.a}, Operand{"out", op.out}}) {
    if (rank == 2) {
      check(x.tensor.shape().rank() >= 1, "matmul: {} must have at least one axis, but is a scalar", x.name);
      continue;
    }
    check(x.tensor.shape().rank() == 3, "matmul: {} must have rank 3 like b {}, but has shape {}", x.name, op.b.shape(),
          x.tensor.shape());
    check(x.tensor.shape()[0] == op.b.shape()[0], "matmul: {} must have the batch {} of b, but has shape {}", x.name,
          op.b.shape()[0], x.tensor.shape());
  }
}

void check_dtypes(const Matmul& op) {
  require_float("matmul", {"a", op.a});
  require_dtype("matmul", {"b", op.b}, op.a.dtype());
  check(op.out.dtype() == op.a.dtype() || op.out.dtype() == DType::f32,
        "matmul: out must be {} like a, or f32, but is {}", name_of(op.a.dtype()), name_of(op.out.dtype()));
  if (op.bias.defined()) require_dtype("matmul", {"bias", op.bias}, op.out.dtype());
}

void check_extents(const Matmul& op) {
  const bool batched = op.b.shape().rank() == 3;
  const Extents a = extents_of(op.a, batched, op.transpose_a), b = extents_of(op.b, batched, op.transpose_b),
                out = extents_of(op.out, batched, false);
  check(a.cols == b.rows, "matmul: op(a) [{}, {}] must have as many columns as op(b) [{}, {}] has rows", a.rows, a.cols,
        b.rows, b.cols);
  check(out.rows == a.rows && out.cols == b.cols,
        "matmul: out must be [{}, {}] for op(a) [{}, {}] and op(b) [{}, {}], but is {}", a.rows, b.cols, a.rows, a.cols,
        b.rows, b.cols, op.out.shape());
  if (!op.bias.defined()) return;
  require_shape("matmul", {"bias", op.bias}, {b.cols}, fmt::format("to match the last axis of out {}", op.out.shape()));
  check(op.write == Write::overwrite,
        "matmul: bias must not be given when out accumulates: it would be added each time");
}

}  // namespace

void matmul(const Matmul& op) {
  require_defined("matmul", {{"out", op.out}, {"a", op.a}, {"b", op.b}});
  require_same_device("matmul", {{"out", op.out}, {"a", op.a}, {"b", op.b}, {"bias", op.bias}});
  check_ranks(op);
  check_dtypes(op);
  check_extents(op);
  require_disjoint("matmul", {"out", op.out}, {{"a", op.a}, {"b", op.b}, {"bias", op.bias}});
  run_on(op.out, op, ACCRUE_BACKENDS(matmul));
}

OperationCost cost_of(const Matmul& op) {
  const bool batched = op.b.shape().rank() == 3;
  const auto depth = static_cast<double>(extents_of(op.a, batched, op.transpose_a).cols);
  return {.flop = 2 * count_of(op.out) * depth,
          .bytes = bytes_of(op.a, op.b) + bytes_of(GradSlot{.tensor = op.out, .write = op.write})};
}

}  // namespace accrue::kernels
