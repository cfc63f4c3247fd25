// The check that every operation on a step state makes. Included by the <op>.cpp files only.
#pragma once

#include <string_view>

#include "kernels/backend.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// Throws "<op>: state must …" unless the tensor can hold a StepState.
void require_step_state(std::string_view op, const Tensor& state);

}  // namespace accrue::kernels
