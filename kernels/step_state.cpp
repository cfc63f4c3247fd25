#include "kernels/step_state.h"

#include <cstddef>
#include <type_traits>

#include "kernels/step_state_check.h"

namespace accrue::kernels {

static_assert(std::is_trivially_copyable_v<StepState>, "its bytes are its value, on every device");

void require_step_state(std::string_view op, const Tensor& state) {
  require_defined(op, {{"state", state}});
  require_dtype(op, {"state", state}, DType::u8);
  require_shape(op, {"state", state}, {sizeof(StepState)}, "as made by make_step_state");
}

Tensor make_step_state(Device device) {
  Tensor state = Tensor::empty({sizeof(StepState)}, DType::u8, device, Category::optimizer);
  write_step_state(state, {});
  return state;
}

Tensor loss_scale_of(const Tensor& state) {
  require_step_state("loss_scale_of", state);
  return state.view_as(DType::f32, {1}, offsetof(StepState, loss_scale));
}

StepState read_step_state(const Tensor& state) {
  require_step_state("read_step_state", state);
  StepState value;
  Allocator::of(state.device()).memory().copy_to_host(&value, state.raw(), sizeof value);
  return value;
}

void write_step_state(const Tensor& state, const StepState& value) {
  require_step_state("write_step_state", state);
  Allocator::of(state.device()).memory().copy_from_host(state.raw(), &value, sizeof value);
}

}  // namespace accrue::kernels
