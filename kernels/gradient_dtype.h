// The dtypes that a main gradient may have: f32, or bf16 for half the memory (contract 9).
#pragma once

#include <utility>

#include "core/dtype.h"

namespace accrue::kernels {

constexpr bool is_gradient_dtype(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

// Calls function(T{}) for the C++ type of a gradient's dtype, which require_gradient_dtype has checked.
template <class Function>
void dispatch_gradient(DType dtype, Function&& function) {
  if (dtype == DType::bf16) {
    std::forward<Function>(function)(bf16{});
  } else {
    std::forward<Function>(function)(float{});
  }
}

}  // namespace accrue::kernels
