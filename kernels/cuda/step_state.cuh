// A step state in device memory: kernels read and write it there.
#pragma once

#include "kernels/step_state.h"

namespace accrue::kernels::cuda {

// For kernels: the host must not look there.
inline StepState* state_of(const Tensor& state) { return reinterpret_cast<StepState*>(state.raw()); }

}  // namespace accrue::kernels::cuda
