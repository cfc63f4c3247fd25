#include "kernels/linear.h"
#include "nn/functional.h"
#include "nn/linear_parts.h"

namespace accrue::nn {
namespace {

// What the forward pass leaves: the hidden layer before and after GELU.
struct Hidden {
  Tensor before, after;
};

// Every tensor is let go of as soon as nothing more is computed from it: two of them are the widest of a block.
void backward(Tape& tape, const FeedForward& p, const Tensor& x, Tensor dy, Hidden& hidden) {
  kernels::linear_weight_backward(
      {.dweight = tape.grad_slot(p.down), .dbias = optional_slot(tape, p.down_bias), .dy = dy, .x = hidden.after});
  hidden.after = {};
  const Tensor dhidden = empty_like(hidden.before);
  kernels::linear_gelu_backward({.dz = dhidden, .dy = dy, .weight = p.down.value(), .z = hidden.before});
  hidden.before = dy = {};
  linear_gradients({.dx = tape.grad_slot(x),
                    .dweight = tape.grad_slot(p.up),
                    .dbias = optional_slot(tape, p.up_bias),
                    .dy = dhidden,
                    .x = x,
                    .weight = p.up.value()});
}

}  // namespace

Tensor feed_forward(Tape& tape, const Tensor& x, const FeedForward& p) {
  constexpr WeightLayout layout = WeightLayout::in_out;
  Hidden hidden{.before = Tensor::empty(x.shape().with_last(linear_width(x, p.up, layout)), x.dtype(), x.device())};
  hidden.after = empty_like(hidden.before);
  kernels::linear_gelu(
      {.y = hidden.after, .z = hidden.before, .x = x, .weight = p.up.value(), .bias = optional_value(p.up_bias)});
  if (!tape.recording()) hidden.before = {};
  const Tensor y =
      Tensor::empty(x.shape().with_last(linear_width(hidden.after, p.down, layout)), x.dtype(), x.device());
  linear_forward(y, hidden.after, p.down, p.down_bias, layout);
  tape.record("feed_forward", y, [y_node = Node(y), x, p, hidden = std::move(hidden)](Tape& t) mutable {
    backward(t, p, x, t.take_grad(y_node), hidden);
  });
  return y;
}

}  // namespace accrue::nn
