// Products of a linear layer together with what else is computed from their operands or results, so that a backend may
// do both in one pass over memory (kernels/matmul_epilogues.h).
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// z = x · weight + bias and y = gelu(z), as of kernels/activation.h: x [..., in], weight [in, out], bias [out] (may be
// undefined), z and y [..., out], all of one dtype. y is the GELU of z or, in one pass, of the sum before it is
// rounded. 2*rows*in*out FLOP and those of GELU | bytes, in one pass: those of matmul and rows*out*sizeof(T) |
// compute-bound | deterministic
struct LinearGelu {
  Tensor y, z, x, weight, bias;
};

// dz = (dy · weight^T) * gelu'(z), the gradient through gelu(z) · weight: dy [..., out], weight [in, out], z and dz
// [..., in], all of one dtype.
// 2*rows*in*out FLOP and those of GELU's gradient | bytes, in one pass: those of matmul and rows*in*sizeof(T) |
// compute-bound | deterministic
struct LinearGeluBackward {
  Tensor dz, dy, weight, z;
};

// dweight [in, out] (+)= x^T · dy, or [out, in] (+)= dy^T · x (transpose), and dbias [out] (+)= the sum over rows of
// dy: x [..., in], dy [..., out] of one dtype; dweight and dbias (which may be undefined) are f32. 2*rows*in*out +
// rows*out FLOP | bytes, in one pass: those of matmul | compute-bound | deterministic
struct LinearWeightBackward {
  GradSlot dweight, dbias;
  Tensor dy, x;
  bool transpose = false;
};

void linear_gelu(const LinearGelu&);
void linear_gelu_backward(const LinearGeluBackward&);
void linear_weight_backward(const LinearWeightBackward&);

OperationCost cost_of(const LinearGelu&);
OperationCost cost_of(const LinearGeluBackward&);
OperationCost cost_of(const LinearWeightBackward&);

// Each as the operations that it is made of, one after the other, on any device.
namespace unfused {
void linear_gelu(const LinearGelu&);
void linear_gelu_backward(const LinearGeluBackward&);
void linear_weight_backward(const LinearWeightBackward&);
}  // namespace unfused

namespace cuda {
void linear_gelu(const LinearGelu&);
void linear_gelu_backward(const LinearGeluBackward&);
void linear_weight_backward(const LinearWeightBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
