#include "kernels/backend.h"

#include "kernels/gradient_dtype.h"

namespace accrue::kernels {

void require_defined(std::string_view op, std::initializer_list<Operand> operands) {
  for (const Operand& operand : operands) check(operand.tensor.defined(), "{}: {} must be given", op, operand.name);
}

void require_same_device(std::string_view op, std::initializer_list<Operand> operands) {
  const Operand* first = nullptr;
  for (const Operand& operand : operands) {
    if (!operand.tensor.defined()) continue;
    if (first == nullptr) first = &operand;
    check(operand.tensor.device() == first->tensor.device(), "{}: {} must be on {} like {}, but is on {}", op,
          operand.name, first->tensor.device().to_string(), first->name, operand.tensor.device().to_string());
  }
}

void require_shape(std::string_view op, const Operand& operand, const Shape& expected, std::string_view reason) {
  check(operand.tensor.shape() == expected, "{}: {} must have shape {} {}, but has {}", op, operand.name, expected,
        reason, operand.tensor.shape());
}

void require_dtype(std::string_view op, const Operand& operand, DType expected) {
  check(operand.tensor.dtype() == expected, "{}: {} must be {}, but is {}", op, operand.name, name_of(expected),
        name_of(operand.tensor.dtype()));
}

void require_float(std::string_view op, const Operand& operand) {
  check(is_float(operand.tensor.dtype()), "{}: {} must be f32, f16 or bf16, but is {}", op, operand.name,
        name_of(operand.tensor.dtype()));
}

void require_gradient_dtype(std::string_view op, const Operand& operand) {
  check(is_gradient_dtype(operand.tensor.dtype()), "{}: {} must be f32 or bf16, but is {}", op, operand.name,
        name_of(operand.tensor.dtype()));
}

void require_no_partial_overlap(std::string_view op, const Operand& a, const Operand& b) {
  if (!a.tensor.defined() || !b.tensor.defined()) return;
  const std::byte *a0 = a.tensor.raw(), *a1 = a0 + a.tensor.bytes(), *b0 = b.tensor.raw(), *b1 = b0 + b.tensor.bytes();
  const bool same = a0 == b0 && a1 == b1;
  check(same || a1 <= b0 || b1 <= a0, "{}: {} and {} must be the same bytes or disjoint, but overlap partly", op,
        a.name, b.name);
}

void require_disjoint(std::string_view op, const Operand& written, std::initializer_list<Operand> others) {
  if (!written.tensor.defined()) return;
  const std::byte *first = written.tensor.raw(), *last = first + written.tensor.bytes();
  for (const Operand& other : others) {
    if (!other.tensor.defined()) continue;
    const std::byte* start = other.tensor.raw();
    check(start + other.tensor.bytes() <= first || last <= start, "{}: {} must not share memory with {}, but does", op,
          written.name, other.name);
  }
}

}  // namespace accrue::kernels
