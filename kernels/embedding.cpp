#include "kernels/embedding.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace accrue::kernels {

namespace {

void require_ids(std::string_view name, const Tensor& ids) {
  require_dtype(name, {"ids", ids}, DType::i32);
  check(ids.shape().rank() >= 1 && ids.shape().rank() < Shape::max_rank,
        "{}: ids must have 1 to {} axes, but has shape {}", name, Shape::max_rank - 1, ids.shape());
  check(ids.numel() <= std::numeric_limits<std::int32_t>::max(),
        "{}: ids must have at most 2^31 - 1 elements, but is {}", name, ids.shape());
}

// [V, C] of a table with V >= rows (0: any V) and C = cols.
void require_table(std::string_view name, const Operand& table, std::int64_t rows, std::int64_t cols,
                   std::string_view reason) {
  const Shape& shape = table.tensor.shape();
  const std::string extent = rows == 0 ? "V" : fmt::format("at least {}", rows);
  check(shape.rank() == 2 && shape[0] >= rows && shape[1] == cols, "{}: {} must have shape [{}, {}] {}, but has {}",
        name, table.name, extent, cols, reason, shape);
}

Shape with_axis(const Shape& shape, std::int64_t extent) {
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents.push_back(extent);
  return Shape(std::span<const std::int64_t>(extents));
}

// "[1, 2]": where in a tensor of this shape its element `index` is.
std::string place_of(const Shape& shape, std::int64_t index) {
  std::string text;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    text = fmt::format("{}{}{}", index % shape[axis], text.empty() ? "" : ", ", text);
    index /= shape[axis];
  }
  return "[" + text + "]";
}

// Of a gradient to whose rows so many others are added: those rows read and written, or all rows written.
double bytes_of_rows(const GradSlot& gradient, std::int64_t added) {
  if (!gradient) return 0;
  if (gradient.write == Write::overwrite) return bytes_of(gradient);
  const Shape& shape = gradient.tensor.shape();
  return 8 * static_cast<double>(std::min(added, shape.rows()) * shape.last());
}

}  // namespace

void fail_bad_id(std::string_view op, const BadId& bad) {
  fail(ErrorKind::bad_data, "{}: ids must be in [0, {}), the rows of the table, but ids{} is {}", op, bad.rows,
       place_of(bad.shape, bad.place), bad.id);
}

void embedding_forward(const EmbeddingForward& op) {
  constexpr std::string_view name = "embedding_forward";
  const Operand y{"y", op.y}, ids{"ids", op.ids}, table{"table", op.table}, positions{"positions", op.positions};
  require_defined(name, {y, ids, table});
  require_same_device(name, {table, ids, y, positions});
  require_ids(name, op.ids);
  require_float(name, table);
  check(op.table.shape().rank() == 2, "{}: table must have 2 axes, but has shape {}", name, op.table.shape());
  const std::int64_t cols = op.table.shape().last();
  require_shape(name, y, with_axis(op.ids.shape(), cols),
                fmt::format("to match ids {} and table {}", op.ids.shape(), op.table.shape()));
  require_dtype(name, y, op.table.dtype());
  if (op.positions.defined()) {
    require_dtype(name, positions, op.table.dtype());
    require_table(name, positions, op.ids.shape().last(), cols,
                  fmt::format("to match ids {} and table {}", op.ids.shape(), op.table.shape()));
  }
  run_on(op.y, op, ACCRUE_BACKENDS(embedding_forward));
}

void embedding_backward(const EmbeddingBackward& op) {
  constexpr std::string_view name = "embedding_backward";
  const Operand dy{"dy", op.dy}, ids{"ids", op.ids};
  const Operand dtable{"dtable", op.dtable.tensor}, dpositions{"dpositions", op.dpositions.tensor};
  require_defined(name, {dy, ids});
  require_same_device(name, {dy, ids, dtable, dpositions});
  require_ids(name, op.ids);
  require_float(name, dy);
  check(op.dy.shape().rank() == op.ids.shape().rank() + 1,
        "{}: dy must have the axes of ids {} and one more, but has {}", name, op.ids.shape(), op.dy.shape());
  const std::int64_t cols = op.dy.shape().last();
  require_shape(name, dy, with_axis(op.ids.shape(), cols), fmt::format("to match ids {}", op.ids.shape()));
  const std::string reason = fmt::format("to match dy {}", op.dy.shape());
  if (op.dtable) {
    require_dtype(name, dtable, DType::f32);
    require_table(name, dtable, 0, cols, reason);
  }
  if (op.dpositions) {
    require_dtype(name, dpositions, DType::f32);
    require_table(name, dpositions, op.ids.shape().last(), cols, reason);
  }
  require_disjoint(name, dtable, {dpositions, dy, ids});
  require_disjoint(name, dpositions, {dy, ids});
  run_on(op.dy, op, ACCRUE_BACKENDS(embedding_backward));
}

OperationCost cost_of(const EmbeddingForward& op) { return {.bytes = bytes_of(op.ids) + 2 * bytes_of(op.y)}; }

OperationCost cost_of(const EmbeddingBackward& op) {
  const double wanted = (op.dtable ? 1 : 0) + (op.dpositions ? 1 : 0);
  return {.flop = wanted * count_of(op.dy),
          .bytes = bytes_of(op.dy) + bytes_of_rows(op.dtable, op.ids.numel()) +
                   bytes_of_rows(op.dpositions, op.ids.shape().last())};
}

}  // namespace accrue::kernels
