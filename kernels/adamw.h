// The fused Adam step over flat buffers.
#pragma once

#include "kernels/operation_cost.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// AdamW (Kingma & Ba, arXiv:1412.6980; decoupled decay: Loshchilov & Hutter, arXiv:1711.05101), one pass. With
// g = gradient * state.factor, t = state.update + 1, lr = state.learning_rate, and where state.apply != 0 (else nothing
// is written, not one bit):
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   master = master * (1 - lr * weight_decay) - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//   compute = master, rounded to its dtype (compute may be undefined)
// master, m, v: f32, gradient: f32 or bf16, all of one shape. The bias corrections are computed in f64.
// 15 FLOP/element | bytes: 16 read (14 with a bf16 gradient) + 12 written (+ 2 for a half compute copy) per element |
// memory-bound | deterministic
struct AdamW {
  Tensor master, m, v;
  Tensor compute;
  Tensor gradient;
  Tensor state;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

void adamw(const AdamW&);

OperationCost cost_of(const AdamW&);

namespace cpu {
void adamw(const AdamW&);
}
namespace cuda {
void adamw(const AdamW&);
}

}  // namespace accrue::kernels
