// From a device to the function that runs there. Included by the <op>.cpp files only.
#pragma once

#include <initializer_list>
#include <string_view>
#include <type_traits>

#include "core/tensor.h"
#include "kernels/cuda/operation_range.h"
#include "kernels/operation_observer.h"

namespace accrue::kernels {

// An operation's name and its implementations in this build, for run_on: ACCRUE_BACKENDS(add).
#ifdef ACCRUE_WITH_CUDA
#define ACCRUE_IF_CUDA(implementation) implementation
#else
#define ACCRUE_IF_CUDA(implementation) nullptr
#endif
#define ACCRUE_BACKENDS(operation) #operation, cpu::operation, ACCRUE_IF_CUDA(cuda::operation)

// Calls the implementation for the device of `on`. In a build without CUDA no tensor is on another device than the CPU.
template <class Arguments>
void call_on(const Tensor& on, const Arguments& arguments, [[maybe_unused]] const char* name,
             void (*on_cpu)(const Arguments&), void (*on_cuda)(const Arguments&)) {
  if (on.device().kind == DeviceKind::cpu) return on_cpu(arguments);
#ifdef ACCRUE_WITH_CUDA
  const cuda::OperationRange range(name);
#endif
  on_cuda(arguments);
}

// The same, told to whoever observes: every operation comes through here. The argument struct's cost_of() is asked only
// then.
template <class Arguments>
void run_on(const Tensor& on, const Arguments& arguments, const char* name, void (*on_cpu)(const Arguments&),
            std::type_identity_t<void (*)(const Arguments&)> on_cuda) {
  if (operation_observer() == nullptr) [[likely]]
    return call_on(on, arguments, name, on_cpu, on_cuda);
  const ObservedCall call(name, cost_of(arguments));
  call_on(on, arguments, name, on_cpu, on_cuda);
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
