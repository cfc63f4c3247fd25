// The CPU backend keeps activations in f32; half dtypes are for optimizer and accumulation buffers.
#pragma once

#include <initializer_list>

#include "kernels/backend.h"

namespace accrue::kernels::cpu {

// Undefined operands are passed over.
inline void require_f32(std::string_view op, std::initializer_list<Operand> operands) {
  for (const Operand& operand : operands) {
    if (!operand.tensor.defined()) continue;
    check(operand.tensor.dtype() == DType::f32, "{}: the CPU backend computes in f32, but {} is {}", op, operand.name,
          name_of(operand.tensor.dtype()));
  }
}

}  // namespace accrue::kernels::cpu
