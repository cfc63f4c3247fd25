// Layer normalisation over the last axis (Ba, Kiros, Hinton, arXiv:1607.06450).
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// y = (x - mean) * rstd * gamma + beta, per row of x [rows, cols]; rstd = 1 / sqrt(variance + eps) with the variance
// divided by cols. mean and rstd are f32 [rows] outputs for the backward. gamma and beta [cols] have x's dtype.
// 8 FLOP/element | bytes: (2*rows*cols + 2*cols)*sizeof(T) + 8*rows | memory-bound | deterministic
struct LayerNormForward {
  Tensor y, mean, rstd;
  Tensor x, gamma, beta;
  float eps = 1e-5f;
};

// With xhat = (x - mean) * rstd and g = dy * gamma:
// dx (+)= rstd * (g - mean_cols(g) - xhat * mean_cols(g * xhat)); dgamma (+)= sum_rows(dy * xhat); dbeta (+)=
// sum_rows(dy). Each slot may be undefined. dgamma and dbeta are f32 [cols]; dx has x's dtype and may be dy when it
// overwrites. 14 FLOP/element | bytes: 3*rows*cols*sizeof(T) (4 when dx accumulates) + 8*rows + 12*cols | memory-bound
// | deterministic: fixed partition of the rows, each part summed privately, then added once
struct LayerNormBackward {
  GradSlot dx, dgamma, dbeta;
  Tensor dy;
  Tensor x, gamma, mean, rstd;
};

void layernorm_forward(const LayerNormForward&);
void layernorm_backward(const LayerNormBackward&);

OperationCost cost_of(const LayerNormForward&);
OperationCost cost_of(const LayerNormBackward&);

namespace cpu {
void layernorm_forward(const LayerNormForward&);
void layernorm_backward(const LayerNormBackward&);
}  // namespace cpu
namespace cuda {
void layernorm_forward(const LayerNormForward&);
void layernorm_backward(const LayerNormBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
