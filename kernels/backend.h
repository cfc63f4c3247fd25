// From a device to the function that runs there. Included by the <op>.cpp files only.
#pragma once

#include <initializer_list>
#include <string_view>

#include "core/tensor.h"

namespace accrue::kernels {

// Calls the implementation for the device of `on`.
template <class Arguments>
void run_on(const Tensor& on, const Arguments& arguments, void (*cpu)(const Arguments&)) {
  check(on.device().kind == DeviceKind::cpu, "this build has kernels for the CPU only, but a tensor is on {}",
        on.device().to_string());
  cpu(arguments);
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
// Bytes must not overlap, unless they coincide exactly (in-place).
void require_no_partial_overlap(std::string_view op, const Operand& a, const Operand& b);
// `written` must share no byte with any of `others`; undefined operands are passed over.
void require_disjoint(std::string_view op, const Operand& written, std::initializer_list<Operand> others);

}  // namespace accrue::kernels
