// Whose gradient is not finite, once some element is known to be.
#pragma once

#include <cstdint>
#include <vector>

#include "core/parameter.h"
#include "kernels/operation_cost.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// A parameter's elements in the flat gradient.
struct GradientSlice {
  std::int64_t begin = 0, count = 0;
};

// state.overflowed = the largest index of a slice with an infinite or NaN element, where that is more than it was
// (finish_step sets it to -1). With slices in the order of the forward pass, that is where the backward pass overflowed
// first, since what lies before inherits it; but for parameters with several uses, which train/overflow_search.h tells
// apart. Reads the gradient only where state.found_inf is set: behind gradient_check, it costs a launch whose blocks
// end at once. At least one slice. bytes: n*sizeof(G) where there is an overflow, else 4 a block | deterministic
struct FindOverflow {
  Tensor state;
  Tensor gradient;  // f32 or bf16
  Tensor slices;    // as made by gradient_slices
};

Tensor gradient_slices(const std::vector<GradientSlice>& slices, Device device);
// Those of a store's parameters, which are registered in the order of the forward pass.
Tensor slices_of(const ParameterStore& parameters);
void find_overflow(const FindOverflow&);

OperationCost cost_of(const FindOverflow&);

namespace cpu {
void find_overflow(const FindOverflow&);
}
namespace cuda {
void find_overflow(const FindOverflow&);
}

}  // namespace accrue::kernels
