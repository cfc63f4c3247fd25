// Conversion between floating-point dtypes.
#pragma once

#include "core/tensor.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// out = x, converted: f32, f16 and bf16 in any combination, rounding to nearest, ties to even; NaN stays NaN, and what
// exceeds a half's range becomes infinite.
// bytes: n*(sizeof(Out) + sizeof(In)) | memory-bound | deterministic
struct Cast {
  Tensor out;
  Tensor x;
};

void cast(const Cast&);

OperationCost cost_of(const Cast&);

// x itself if it has that dtype already, else a converted copy on the same device.
Tensor as_dtype(const Tensor& x, DType dtype, Category category = Category::activations);

namespace cpu {
void cast(const Cast&);
}
namespace cuda {
void cast(const Cast&);
}

}  // namespace accrue::kernels
