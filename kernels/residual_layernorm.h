// A residual connection and the layer normalisation behind it, in one pass.
#pragma once

#include "core/tensor.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// sum = x + residual, rounded to x's dtype; y, mean and rstd as layernorm_forward() makes them of the sum, with the
// same bits as add() followed by it. x, residual, sum and y have one shape and dtype; sum may be x or residual, y may
// not be the sum. The backward is layernorm_backward() with dx accumulating into the sum's own gradient. 9 FLOP/element
// | bytes: (4*rows*cols + 2*cols)*sizeof(T) + 8*rows, one pass less than the two operations | memory-bound |
// deterministic
struct ResidualLayerNorm {
  Tensor sum, y, mean, rstd;
  Tensor x, residual, gamma, beta;
  float eps = 1e-5f;
};

void residual_layernorm(const ResidualLayerNorm&);

OperationCost cost_of(const ResidualLayerNorm&);

namespace cpu {
void residual_layernorm(const ResidualLayerNorm&);
}
namespace cuda {
void residual_layernorm(const ResidualLayerNorm&);
}

}  // namespace accrue::kernels
