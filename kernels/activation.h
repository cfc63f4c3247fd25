// Element-wise activations.
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// gelu: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the tanh form of Hendrycks & Gimpel, arXiv:1606.08415, as in
// GPT-2. relu: max(x, 0), its derivative at 0 being 0; a NaN stays NaN in both.
enum class Activation { gelu, relu };

// y = f(x), any shape; y may be x.
// about 12 FLOP/element for gelu, 1 for relu | bytes: 2*n*sizeof(T) | memory-bound | deterministic
struct ActivationForward {
  Tensor y;
  Tensor x;
  Activation kind;
};

// dx (+)= dy * f'(x); dx may be dy. x is the input of the forward (for relu its output serves as well).
// about 20 FLOP/element for gelu, 1 for relu | bytes: 3*n*sizeof(T), 4 when accumulating | memory-bound |
// deterministic
struct ActivationBackward {
  GradSlot dx;
  Tensor dy;
  Tensor x;
  Activation kind;
};

void activation_forward(const ActivationForward&);
void activation_backward(const ActivationBackward&);

OperationCost cost_of(const ActivationForward&);
OperationCost cost_of(const ActivationBackward&);

namespace cpu {
void activation_forward(const ActivationForward&);
void activation_backward(const ActivationBackward&);
}  // namespace cpu
namespace cuda {
void activation_forward(const ActivationForward&);
void activation_backward(const ActivationBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
