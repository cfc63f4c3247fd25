#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/step_state.cuh"
#include "kernels/step_control.h"
#include "kernels/step_transitions.h"

namespace accrue::kernels::cuda {
namespace {

// One thread each: there is one record, and its fields depend on one another.
__global__ void add_terms_kernel(StepState* state, const LossTerms* terms) { add_terms(*state, *terms); }
// Bad data has been met but not yet thrown, as nobody has waited: the gradient is worth nothing, the weights keep their
// bits, and the window does not count.
__global__ void begin_kernel(StepState* state, StepOptions options, FaultSink faults) {
  begin(*state, options);
  if (*faults.claimed != 0) state->apply = 0, state->factor = 0, state->held = 1;
}
__global__ void finish_kernel(StepState* state, LossScaling scaling, OnOverflow on_overflow) {
  finish(*state, scaling, on_overflow);
}

Launch one_thread(std::string_view name, const Tensor& state) {
  return {.name = name, .on = state, .grid = 1, .block = 1};
}

}  // namespace

void add_loss_terms(const AddLossTerms& op) {
  launch(one_thread("add_loss_terms", op.state), add_terms_kernel, state_of(op.state),
         reinterpret_cast<const LossTerms*>(op.terms.raw()));
}

void begin_step(const BeginStep& op) {
  launch(one_thread("begin_step", op.state), begin_kernel, state_of(op.state), options_of(op), fault_sink_of(op.state));
}

void finish_step(const FinishStep& op) {
  launch(one_thread("finish_step", op.state), finish_kernel, state_of(op.state), op.scaling, op.on_overflow);
}

}  // namespace accrue::kernels::cuda
