#include "kernels/activation.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void activation_forward(const ActivationForward& op) {
  constexpr std::string_view name = "activation_forward";
  require_defined(name, {{"y", op.y}, {"x", op.x}});
  require_same_device(name, {{"y", op.y}, {"x", op.x}});
  require_float(name, {"x", op.x});
  require_shape(name, {"y", op.y}, op.x.shape(), "like x");
  require_dtype(name, {"y", op.y}, op.x.dtype());
  require_no_partial_overlap(name, {"y", op.y}, {"x", op.x});
  run_on(op.y, op, ACCRUE_BACKENDS(activation_forward));
}

void activation_backward(const ActivationBackward& op) {
  constexpr std::string_view name = "activation_backward";
  const Tensor& dx = op.dx.tensor;
  require_defined(name, {{"dx", dx}, {"dy", op.dy}, {"x", op.x}});
  require_same_device(name, {{"dx", dx}, {"dy", op.dy}, {"x", op.x}});
  require_float(name, {"x", op.x});
  require_shape(name, {"dy", op.dy}, op.x.shape(), "like x");
  require_shape(name, {"dx", dx}, op.x.shape(), "like x");
  require_dtype(name, {"dy", op.dy}, op.x.dtype());
  require_dtype(name, {"dx", dx}, op.x.dtype());
  require_no_partial_overlap(name, {"dx", dx}, {"dy", op.dy});
  require_no_partial_overlap(name, {"dx", dx}, {"x", op.x});
  run_on(dx, op, ACCRUE_BACKENDS(activation_backward));
}

OperationCost cost_of(const ActivationForward& op) {
  const double each = op.kind == Activation::gelu ? 12 : 1;
  return {.flop = each * count_of(op.x), .bytes = bytes_of(op.y, op.x)};
}

OperationCost cost_of(const ActivationBackward& op) {
  const double each = op.kind == Activation::gelu ? 20 : 1;
  return {.flop = each * count_of(op.x), .bytes = bytes_of(op.dx) + bytes_of(op.dy, op.x)};
}

}  // namespace accrue::kernels
