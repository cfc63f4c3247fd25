#include "kernels/linear.h"

#include "kernels/activation.h"
#include "kernels/backend.h"
#include "kernels/bias.h"
#include "kernels/matmul.h"

// The CPU computes the parts one after the other.
#define ACCRUE_FUSED(operation) #operation, unfused::operation, ACCRUE_IF_CUDA(cuda::operation)

namespace accrue::kernels {
namespace {

void require_matrix(std::string_view op, const Operand& weight) {
  check(weight.tensor.shape().rank() == 2, "{}: {} must have two axes, but has shape {}", op, weight.name,
        weight.tensor.shape());
}

void require_last_axis(std::string_view op, const Operand& x, std::int64_t extent, std::string_view reason) {
  const Shape& shape = x.tensor.shape();
  check(shape.rank() >= 1 && shape.last() == extent, "{}: the last axis of {} must be {} {}, but it has shape {}", op,
        x.name, extent, reason, shape);
}

// The product over all rows at once: to matmul, a second operand of three axes would mean a batch of products.
Tensor as_matrix(const Tensor& x) { return x.view({x.shape().rows(), x.shape().last()}); }

// The parts of each operation.

Matmul product_of(const LinearGelu& op) { return {.out = op.z, .a = op.x, .b = op.weight, .bias = op.bias}; }

ActivationForward gelu_of(const LinearGelu& op) { return {.y = op.y, .x = op.z, .kind = Activation::gelu}; }

Matmul product_of(const LinearGeluBackward& op) {
  return {.out = op.dz, .a = op.dy, .b = op.weight, .transpose_b = true};
}

ActivationBackward gelu_of(const LinearGeluBackward& op) {
  return {.dx = {.tensor = op.dz}, .dy = op.dz, .x = op.z, .kind = Activation::gelu};
}

Matmul product_of(const LinearWeightBackward& op) {
  return {.out = op.dweight.tensor,
          .a = as_matrix(op.transpose ? op.dy : op.x),
          .b = as_matrix(op.transpose ? op.x : op.dy),
          .transpose_a = true,
          .write = op.dweight.write};
}

}  // namespace

void linear_gelu(const LinearGelu& op) {
  constexpr std::string_view name = "linear_gelu";
  require_defined(name, {{"y", op.y}, {"z", op.z}, {"x", op.x}, {"weight", op.weight}});
  require_same_device(name, {{"y", op.y}, {"z", op.z}, {"x", op.x}, {"weight", op.weight}, {"bias", op.bias}});
  require_float(name, {"x", op.x});
  require_matrix(name, {"weight", op.weight});
  require_last_axis(name, {"x", op.x}, op.weight.shape()[0], "to match weight");
  const Shape out = op.x.shape().with_last(op.weight.shape()[1]);
  for (const Operand& result : {Operand{"y", op.y}, Operand{"z", op.z}}) {
    require_shape(name, result, out, "to match x and weight");
    require_dtype(name, result, op.x.dtype());
  }
  require_dtype(name, {"weight", op.weight}, op.x.dtype());
  if (op.bias.defined()) {
    require_shape(name, {"bias", op.bias}, {op.weight.shape()[1]}, "to match weight");
    require_dtype(name, {"bias", op.bias}, op.x.dtype());
  }
  require_disjoint(name, {"y", op.y}, {{"z", op.z}, {"x", op.x}, {"weight", op.weight}, {"bias", op.bias}});
  require_disjoint(name, {"z", op.z}, {{"x", op.x}, {"weight", op.weight}, {"bias", op.bias}});
  run_on(op.y, op, ACCRUE_FUSED(linear_gelu));
}

void linear_gelu_backward(const LinearGeluBackward& op) {
  constexpr std::string_view name = "linear_gelu_backward";
  require_defined(name, {{"dz", op.dz}, {"dy", op.dy}, {"weight", op.weight}, {"z", op.z}});
  require_same_device(name, {{"dz", op.dz}, {"dy", op.dy}, {"weight", op.weight}, {"z", op.z}});
  require_float(name, {"dy", op.dy});
  require_matrix(name, {"weight", op.weight});
  require_last_axis(name, {"dy", op.dy}, op.weight.shape()[1], "to match weight");
  const Shape in = op.dy.shape().with_last(op.weight.shape()[0]);
  for (const Operand& hidden : {Operand{"dz", op.dz}, Operand{"z", op.z}}) {
    require_shape(name, hidden, in, "to match dy and weight");
    require_dtype(name, hidden, op.dy.dtype());
  }
  require_dtype(name, {"weight", op.weight}, op.dy.dtype());
  require_disjoint(name, {"dz", op.dz}, {{"dy", op.dy}, {"weight", op.weight}, {"z", op.z}});
  run_on(op.dz, op, ACCRUE_FUSED(linear_gelu_backward));
}

void linear_weight_backward(const LinearWeightBackward& op) {
  constexpr std::string_view name = "linear_weight_backward";
  const Tensor &dweight = op.dweight.tensor, &dbias = op.dbias.tensor;
  require_defined(name, {{"dweight", dweight}, {"dy", op.dy}, {"x", op.x}});
  require_same_device(name, {{"dweight", dweight}, {"dbias", dbias}, {"dy", op.dy}, {"x", op.x}});
  require_float(name, {"dy", op.dy});
  require_dtype(name, {"x", op.x}, op.dy.dtype());
  require_dtype(name, {"dweight", dweight}, DType::f32);
  for (const Operand& operand : {Operand{"dy", op.dy}, Operand{"x", op.x}})
    check(operand.tensor.shape().rank() >= 1, "{}: {} must have at least one axis, but is a scalar", name,
          operand.name);
  const std::int64_t in = op.x.shape().last(), out = op.dy.shape().last();
  require_shape(name, {"x", op.x}, op.dy.shape().with_last(in), "with the rows of dy");
  require_shape(name, {"dweight", dweight}, op.transpose ? Shape{out, in} : Shape{in, out}, "to match x and dy");
  if (dbias.defined()) {
    require_shape(name, {"dbias", dbias}, {out}, "to match dy");
    require_dtype(name, {"dbias", dbias}, DType::f32);
  }
  require_disjoint(name, {"dweight", dweight}, {{"dbias", dbias}, {"dy", op.dy}, {"x", op.x}});
  require_disjoint(name, {"dbias", dbias}, {{"dy", op.dy}, {"x", op.x}});
  run_on(dweight, op, ACCRUE_FUSED(linear_weight_backward));
}

OperationCost cost_of(const LinearGelu& op) {
  const OperationCost product = cost_of(product_of(op));
  return {.flop = product.flop + cost_of(gelu_of(op)).flop, .bytes = product.bytes + bytes_of(op.y)};
}

OperationCost cost_of(const LinearGeluBackward& op) {
  const OperationCost product = cost_of(product_of(op));
  return {.flop = product.flop + cost_of(gelu_of(op)).flop, .bytes = product.bytes + bytes_of(op.z)};
}

OperationCost cost_of(const LinearWeightBackward& op) {
  const OperationCost product = cost_of(product_of(op));
  return {.flop = product.flop + (op.dbias ? count_of(op.dy) : 0), .bytes = product.bytes};
}

namespace unfused {

void linear_gelu(const LinearGelu& op) {
  matmul(product_of(op));
  activation_forward(gelu_of(op));
}

void linear_gelu_backward(const LinearGeluBackward& op) {
  matmul(product_of(op));
  activation_backward(gelu_of(op));
}

void linear_weight_backward(const LinearWeightBackward& op) {
  if (op.dbias) bias_backward({.dbias = op.dbias, .dy = op.dy});
  matmul(product_of(op));
}

}  // namespace unfused
}  // namespace accrue::kernels
