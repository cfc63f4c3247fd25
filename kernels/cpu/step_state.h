// A step state on the CPU is read and written where it lies.
#pragma once

#include "kernels/step_state.h"

namespace accrue::kernels::cpu {

inline StepState& state_of(const Tensor& state) { return *reinterpret_cast<StepState*>(state.raw()); }

}  // namespace accrue::kernels::cpu
