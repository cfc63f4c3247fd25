#include "kernels/bias.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void bias_forward(const BiasForward& op) {
  constexpr std::string_view name = "bias_forward";
  require_defined(name, {{"y", op.y}, {"x", op.x}, {"bias", op.bias}});
  require_same_device(name, {{"y", op.y}, {"x", op.x}, {"bias", op.bias}});
  require_float(name, {"x", op.x});
  check(op.x.shape().rank() >= 1, "{}: x must have at least 1 axis, but has shape {}", name, op.x.shape());
  require_shape(name, {"y", op.y}, op.x.shape(), "like x");
  require_shape(name, {"bias", op.bias}, {op.x.shape().last()},
                fmt::format("to match the last axis of x {}", op.x.shape()));
  require_dtype(name, {"y", op.y}, op.x.dtype());
  require_dtype(name, {"bias", op.bias}, op.x.dtype());
  require_no_partial_overlap(name, {"y", op.y}, {"x", op.x});
  run_on(op.y, op, ACCRUE_BACKENDS(bias_forward));
}

void bias_backward(const BiasBackward& op) {
  constexpr std::string_view name = "bias_backward";
  require_defined(name, {{"dbias", op.dbias.tensor}, {"dy", op.dy}});
  require_same_device(name, {{"dbias", op.dbias.tensor}, {"dy", op.dy}});
  require_float(name, {"dy", op.dy});
  check(op.dy.shape().rank() >= 1, "{}: dy must have at least 1 axis, but has shape {}", name, op.dy.shape());
  require_shape(name, {"dbias", op.dbias.tensor}, {op.dy.shape().last()},
                fmt::format("to match the last axis of dy {}", op.dy.shape()));
  require_dtype(name, {"dbias", op.dbias.tensor}, DType::f32);
  require_disjoint(name, {"dbias", op.dbias.tensor}, {{"dy", op.dy}});
  run_on(op.dy, op, ACCRUE_BACKENDS(bias_backward));
}

OperationCost cost_of(const BiasForward& op) {
  return {.flop = count_of(op.x), .bytes = bytes_of(op.y, op.x, op.bias)};
}

OperationCost cost_of(const BiasBackward& op) {
  return {.flop = count_of(op.dy), .bytes = bytes_of(op.dy, op.dbias.tensor)};
}

}  // namespace accrue::kernels
