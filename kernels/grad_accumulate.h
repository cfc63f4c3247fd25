// The gradient add at the heart of accumulation.
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// acc += scale * incoming, in place (or acc = scale * incoming when the slot overwrites: a store, so that a NaN in the
// old bytes does not survive, contract 10). acc is f32 or bf16, incoming f32, f16 or bf16 of the same shape; arithmetic
// in f32, rounded to acc's dtype once. acc may be incoming. 2 FLOP/element | bytes: n*(2*sizeof(Acc) + sizeof(T)),
// sizeof(Acc) less an element when overwriting | memory-bound | deterministic
struct GradAccumulate {
  GradSlot acc;
  Tensor incoming;
  float scale = 1;
};

void grad_accumulate(const GradAccumulate&);

OperationCost cost_of(const GradAccumulate&);

namespace cpu {
void grad_accumulate(const GradAccumulate&);
}
namespace cuda {
void grad_accumulate(const GradAccumulate&);
}

}  // namespace accrue::kernels
