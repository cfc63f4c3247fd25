// Activations, dropout, the residual sum, the change of dtype and of shape.
#include "kernels/add.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/grad_accumulate.h"
#include "nn/functional.h"
#include "nn/gradients.h"

namespace accrue::nn {

Tensor activation(Tape& tape, const Tensor& x, kernels::Activation kind) {
  const Tensor y = empty_like(x);
  kernels::activation_forward({.y = y, .x = x, .kind = kind});
  tape.record("activation", y, [y_node = Node(y), x, kind](Tape& t) {
    const Tensor dy = t.take_grad(y_node);
    if (t.has_grad(x) || dy.shares_storage()) {
      if (const GradSlot dx = t.grad_slot(x)) kernels::activation_backward({.dx = dx, .dy = dy, .x = x, .kind = kind});
      return;
    }
    // The first contribution to x's gradient may take the place of dy, which nobody else holds.
    kernels::activation_backward({.dx = {.tensor = dy}, .dy = dy, .x = x, .kind = kind});
    t.contribute(x, dy, add_gradient);
  });
  return y;
}

Tensor dropout(Tape& tape, const Tensor& x, float p, std::uint32_t site) {
  if (p == 0 || !tape.context().training) return x;
  const RandomKey key = tape.context().random;
  const Tensor y = empty_like(x);
  kernels::dropout({.out = {.tensor = y}, .x = x, .p = p, .key = key, .site = site});
  tape.record("dropout", y, [y_node = Node(y), x_node = Node(x), p, key, site](Tape& t) {
    if (const GradSlot dx = t.grad_slot(x_node))
      kernels::dropout({.out = dx, .x = t.grad(y_node), .p = p, .key = key, .site = site});
  });
  return y;
}

Tensor add(Tape& tape, const Tensor& a, const Tensor& b) {
  const Tensor y = empty_like(a);
  kernels::add({.out = y, .a = a, .b = b});
  record_add(tape, y, a, b);
  return y;
}

void record_add(Tape& tape, const Tensor& sum, const Tensor& a, const Tensor& b) {
  tape.record("add", sum, [sum_node = Node(sum), a_node = Node(a), b_node = Node(b)](Tape& t) {
    const Tensor gradient = t.take_grad(sum_node);
    t.contribute(a_node, gradient, add_gradient);
    t.contribute(b_node, gradient, add_gradient);
  });
}

Tensor cast(Tape& tape, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const Tensor y = kernels::as_dtype(x, dtype);
  // Data has no gradient: were its copy recorded, the first layer would compute one.
  if (!tape.needs_grad(x)) return y;
  tape.record("cast", y, [y_node = Node(y), x_node = Node(x), back = x.dtype()](Tape& t) {
    t.contribute(x_node, kernels::as_dtype(t.take_grad(y_node), back), add_gradient);
  });
  return y;
}

Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape) {
  check(x.numel() == shape.numel(), "reshape: shape {} must have the {} elements of x {}", shape, x.numel(), x.shape());
  const Tensor y = x.view(shape);
  tape.record("reshape", y, [y_node = Node(y), x_node = Node(x)](Tape& t) {
    t.contribute(x_node, t.take_grad(y_node).view(x_node.shape), add_gradient);
  });
  return y;
}

void add_gradient(const GradSlot& slot, const Tensor& gradient) {
  if (slot.tensor.dtype() == DType::f32) {
    kernels::grad_accumulate({.acc = slot, .incoming = gradient});
  } else if (slot.write == Write::accumulate) {
    kernels::add({.out = slot.tensor, .a = slot.tensor, .b = gradient});
  } else {
    slot.tensor.copy_from(gradient);
  }
}

}  // namespace accrue::nn
