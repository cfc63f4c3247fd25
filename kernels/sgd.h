// The fused SGD step over flat buffers.
#pragma once

#include "kernels/operation_cost.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// SGD with momentum as torch.optim.SGD defines it (Sutskever et al., ICML 2013, in its lr-outside form), dampening 0.
// With g = gradient * state.factor + weight_decay * master, lr = state.learning_rate, and where state.apply != 0:
//   buffer = momentum * buffer + g (momentum 0: no buffer);  step = nesterov ? g + momentum * buffer : buffer
//   master = master - lr * step;  compute = master, rounded to its dtype (compute may be undefined)
// The first update starts from a zero buffer. master, buffer: f32, gradient: f32 or bf16, all of one shape; buffer
// undefined iff momentum = 0. 6 FLOP/element | bytes: 12 read + 8 written (8 + 4 without momentum; 2 less read with a
// bf16 gradient; + 2 written for a half compute copy) per element | memory-bound | deterministic
struct Sgd {
  Tensor master, buffer;
  Tensor compute;
  Tensor gradient;
  Tensor state;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
};

void sgd(const Sgd&);

OperationCost cost_of(const Sgd&);

namespace cpu {
void sgd(const Sgd&);
}
namespace cuda {
void sgd(const Sgd&);
}

}  // namespace accrue::kernels
