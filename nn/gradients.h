// Backward passes that several operations of nn/ share.
#pragma once

#include "core/grad_slot.h"
#include "core/tape.h"

namespace accrue::nn {

// sum = a + b.
void record_add(Tape& tape, const Tensor& sum, const Tensor& a, const Tensor& b);

// y = layernorm(x), whose forward has left mean and rstd.
struct NormalizedRows {
  Tensor y, x, mean, rstd;
  Parameter gamma, beta;
};
void record_layernorm(Tape& tape, const NormalizedRows& rows);

// How one activation gradient is added to another; for Tape::contribute.
void add_gradient(const GradSlot& slot, const Tensor& gradient);

}  // namespace accrue::nn
