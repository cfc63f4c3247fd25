#include "kernels/embedding.h"

#include <vector>

#include "nn/functional.h"

namespace accrue::nn {
namespace {

Shape embedded_shape(const Shape& ids, std::int64_t width) {
  std::vector<std::int64_t> extents(ids.extents().begin(), ids.extents().end());
  extents.push_back(width);
  return Shape(extents);
}

}  // namespace

Tensor embedding(Tape& tape, const Tensor& ids, const Parameter& table, const Parameter& positions) {
  const Tensor y =
      Tensor::empty(embedded_shape(ids.shape(), table.shape().last()), table.value().dtype(), ids.device());
  kernels::embedding_forward(
      {.y = y, .ids = ids, .table = table.value(), .positions = positions.defined() ? positions.value() : Tensor()});
  tape.record("embedding", y, [y_node = Node(y), ids, table, positions](Tape& t) {
    kernels::embedding_backward({.dtable = t.grad_slot(table),
                                 .dpositions = positions.defined() ? t.grad_slot(positions) : GradSlot(),
                                 .dy = t.grad(y_node),
                                 .ids = ids});
  });
  return y;
}

}  // namespace accrue::nn
