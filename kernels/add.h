// Element-wise sum, as of a residual connection.
#pragma once

#include "core/tensor.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// out = a + b, all of one shape and dtype; out may be a or b.
// 1 FLOP/element | bytes: 3*n*sizeof(T) | memory-bound | deterministic
struct Add {
  Tensor out;
  Tensor a;
  Tensor b;
};

void add(const Add&);

OperationCost cost_of(const Add&);

namespace cpu {
void add(const Add&);
}
namespace cuda {
void add(const Add&);
}

}  // namespace accrue::kernels
