#include "kernels/bias.h"
#include "kernels/matmul.h"
#include "nn/functional.h"

namespace accrue::nn {
namespace {

// The product over all rows at once: to matmul, a second operand of three axes would mean a batch of products.
Tensor as_matrix(const Tensor& x) { return x.view({x.shape().rows(), x.shape().last()}); }

void linear_backward(Tape& tape, const Node& y, const Tensor& x, const Parameter& weight, const Parameter& bias,
                     WeightLayout layout) {
  const bool out_in = layout == WeightLayout::out_in;
  const Tensor dy = tape.grad(y);
  if (bias.defined()) kernels::bias_backward({.dbias = tape.grad_slot(bias), .dy = dy});
  const GradSlot dw = tape.grad_slot(weight);
  kernels::matmul({.out = dw.tensor,
                   .a = as_matrix(out_in ? dy : x),
                   .b = as_matrix(out_in ? x : dy),
                   .transpose_a = true,
                   .write = dw.write});
  if (const GradSlot dx = tape.grad_slot(x))
    kernels::matmul({.out = dx.tensor, .a = dy, .b = weight.value(), .transpose_b = !out_in, .write = dx.write});
}

}  // namespace

Tensor linear(Tape& tape, const Tensor& x, const Parameter& weight, const Parameter& bias, WeightLayout layout) {
  const bool out_in = layout == WeightLayout::out_in;
  check(weight.shape().rank() == 2, "linear: {} must have two axes, but has shape {}", weight.name(), weight.shape());
  const std::int64_t in = weight.shape()[out_in ? 1 : 0], out = weight.shape()[out_in ? 0 : 1];
  check(x.shape().rank() >= 1 && x.shape().last() == in, "linear: the last axis of x {} must be {} to match {} {}",
        x.shape(), in, weight.name(), weight.shape());
  const Tensor y = Tensor::empty(x.shape().with_last(out), x.dtype(), x.device());
  kernels::matmul(
      {.out = y, .a = x, .b = weight.value(), .transpose_b = out_in, .bias = bias.defined() ? bias.value() : Tensor()});
  tape.record("linear", y, [y_node = Node(y), x, weight, bias, layout](Tape& t) {
    linear_backward(t, y_node, x, weight, bias, layout);
  });
  return y;
}

}  // namespace accrue::nn
