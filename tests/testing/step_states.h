// Step states for tests of the optimizer's kernels.
#pragma once

#include "kernels/step_state.h"

namespace accrue::testing {

inline Tensor step_state_of(const kernels::StepState& value, Device device = Device::cpu()) {
  const Tensor state = kernels::make_step_state(device);
  kernels::write_step_state(state, value);
  return state;
}

}  // namespace accrue::testing
