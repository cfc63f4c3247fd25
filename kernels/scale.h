// Multiplication by a scalar, as of a loss by its scale.
#pragma once

#include "core/tensor.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// out = x * factor, where factor is factor_host, times *factor_device (f32 [1]) where that is defined. out may be x;
// both are of one floating-point dtype; the product is rounded once, from f32. 1 FLOP/element | bytes: 2*n*sizeof(T) |
// memory-bound | deterministic
struct Scale {
  Tensor out;
  Tensor x;
  float factor_host = 1;
  Tensor factor_device;
};

void scale(const Scale&);

OperationCost cost_of(const Scale&);

namespace cpu {
void scale(const Scale&);
}
namespace cuda {
void scale(const Scale&);
}

}  // namespace accrue::kernels
