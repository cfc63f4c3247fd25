// Finite check and squared norm of the gradient, in one pass.
#pragma once

#include "kernels/operation_cost.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// state.squared_norm = sum of gradient[i]^2, in f64; state.found_inf |= any element is infinite or NaN. gradient is
// f32 or bf16. 2 FLOP/element | bytes: n*sizeof(G) | memory-bound | deterministic: fixed chunks, combined in order
struct GradientCheck {
  Tensor state;
  Tensor gradient;
};

void gradient_check(const GradientCheck&);

OperationCost cost_of(const GradientCheck&);

namespace cpu {
void gradient_check(const GradientCheck&);
}
namespace cuda {
void gradient_check(const GradientCheck&);
}

}  // namespace accrue::kernels
