#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "nn/functional.h"
#include "nn/linear_parts.h"

namespace accrue::nn {

std::int64_t linear_width(const Tensor& x, const Parameter& weight, WeightLayout layout) {
  const bool out_in = layout == WeightLayout::out_in;
  check(weight.shape().rank() == 2, "linear: {} must have two axes, but has shape {}", weight.name(), weight.shape());
  const std::int64_t in = weight.shape()[out_in ? 1 : 0], out = weight.shape()[out_in ? 0 : 1];
  check(x.shape().rank() >= 1 && x.shape().last() == in, "linear: the last axis of x {} must be {} to match {} {}",
        x.shape(), in, weight.name(), weight.shape());
  return out;
}

void linear_forward(const Tensor& y, const Tensor& x, const Parameter& weight, const Parameter& bias,
                    WeightLayout layout) {
  kernels::matmul({.out = y,
                   .a = x,
                   .b = weight.value(),
                   .transpose_b = layout == WeightLayout::out_in,
                   .bias = optional_value(bias)});
}

void linear_gradients(const LinearGradients& op) {
  const bool out_in = op.layout == WeightLayout::out_in;
  kernels::linear_weight_backward(
      {.dweight = op.dweight, .dbias = op.dbias, .dy = op.dy, .x = op.x, .transpose = out_in});
  if (op.dx)
    kernels::matmul({.out = op.dx.tensor, .a = op.dy, .b = op.weight, .transpose_b = !out_in, .write = op.dx.write});
}

Tensor linear(Tape& tape, const Tensor& x, const Parameter& weight, const Parameter& bias, WeightLayout layout) {
  const Tensor y = Tensor::empty(x.shape().with_last(linear_width(x, weight, layout)), x.dtype(), x.device());
  linear_forward(y, x, weight, bias, layout);
  tape.record("linear", y, [y_node = Node(y), x, weight, bias, layout](Tape& t) {
    linear_gradients({.dx = t.grad_slot(x),
                      .dweight = t.grad_slot(weight),
                      .dbias = optional_slot(t, bias),
                      .dy = t.grad(y_node),
                      .x = x,
                      .weight = weight.value(),
                      .layout = layout});
  });
  return y;
}

}  // namespace accrue::nn
