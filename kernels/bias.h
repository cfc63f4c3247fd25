// Bias of a linear layer.
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// y = x + bias, per row of x [rows, cols]; y may be x.
// 1 FLOP/element | bytes: (2*rows*cols + cols)*sizeof(T) | memory-bound | deterministic
struct BiasForward {
  Tensor y;
  Tensor x;
  Tensor bias;
};

// dbias[c] (+)= sum over rows of dy[row, c]; dbias is f32 [cols].
// 1 FLOP/element | bytes: rows*cols*sizeof(T) + 4*cols | memory-bound | deterministic: fixed partition of the rows,
// each part summed privately, then added once
struct BiasBackward {
  GradSlot dbias;
  Tensor dy;
};

void bias_forward(const BiasForward&);
void bias_backward(const BiasBackward&);

OperationCost cost_of(const BiasForward&);
OperationCost cost_of(const BiasBackward&);

namespace cpu {
void bias_forward(const BiasForward&);
void bias_backward(const BiasBackward&);
}  // namespace cpu
namespace cuda {
void bias_forward(const BiasForward&);
void bias_backward(const BiasBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
