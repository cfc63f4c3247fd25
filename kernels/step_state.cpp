#include "kernels/step_state.h"

namespace accrue::kernels {
namespace {

void require_step_state(const Tensor& state) {
  check(state.defined() && state.dtype() == DType::u8 && state.numel() == sizeof(StepState),
        "step state must be u8 [{}], but is {}", sizeof(StepState),
        state.defined() ? fmt::format("{} {}", name_of(state.dtype()), state.shape()) : "undefined");
}

}  // namespace

Tensor make_step_state(Device device) {
  const Tensor state = Tensor::empty({sizeof(StepState)}, DType::u8, device, Category::optimizer);
  write_step_state(state, {});
  return state;
}

StepState read_step_state(const Tensor& state) {
  require_step_state(state);
  StepState value;
  Allocator::of(state.device()).memory().copy_to_host(&value, state.raw(), sizeof value);
  return value;
}

void write_step_state(const Tensor& state, const StepState& value) {
  require_step_state(state);
  Allocator::of(state.device()).memory().copy_from_host(state.raw(), &value, sizeof value);
}

}  // namespace accrue::kernels
