// From a device to the function that runs there. Included by the <op>.cpp files only.
#pragma once

#include <initializer_list>
#include <string_view>
#include <type_traits>

#include "core/tensor.h"

namespace accrue::kernels {

// The implementations of an operation in this build, for run_on: ACCRUE_BACKENDS(add).
#ifdef ACCRUE_WITH_CUDA
#define ACCRUE_BACKENDS(operation) cpu::operation, cuda::operation
#else
#define ACCRUE_BACKENDS(operation) cpu::operation, nullptr
#endif

// Calls the implementation for the device of `on`. In a build without CUDA no tensor is on another device than the CPU.
template <class Arguments>
void run_on(const Tensor& on, const Arguments& arguments, void (*cpu)(const Arguments&),
            std::type_identity_t<void (*)(const Arguments&)> cuda) {
  on.device().kind == DeviceKind::cuda ? cuda(arguments) : cpu(arguments);
}

// A tensor with the name it has in its argument struct, for messages.
struct Operand {
  std::string_view name;
  const Tensor& tensor;
};

// Each throws an internal error of the form "<op>: <operand> must …, but …".
void require_defined(std::string_view op, std::initializer_list<Operand> operands);
void require_same_device(std::string_view op,
                         std::initializer_list<Operand> operands);  // undefined operands are passed over
void require_shape(std::string_view op, const Operand& operand, const Shape& expected, std::string_view reason);
void require_dtype(std::string_view op, const Operand& operand, DType expected);
void require_float(std::string_view op, const Operand& operand);
void require_gradient_dtype(std::string_view op, const Operand& operand);  // f32 or bf16
// Bytes must not overlap, unless they coincide exactly (in-place).
void require_no_partial_overlap(std::string_view op, const Operand& a, const Operand& b);
// `written` must share no byte with any of `others`; undefined operands are passed over.
void require_disjoint(std::string_view op, const Operand& written, std::initializer_list<Operand> others);

}  // namespace accrue::kernels
