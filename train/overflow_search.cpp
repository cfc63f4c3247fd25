#include "train/overflow_search.h"

#include <array>

#include "kernels/gradient_check.h"

namespace accrue::train {
namespace {

bool is_finite(const Tensor& gradient) {
  const Tensor state = kernels::make_step_state(gradient.device());
  kernels::gradient_check({.state = state, .gradient = gradient});
  return kernels::read_step_state(state).found_inf == 0;
}

// Whatever ends the search, nothing of it is left for the next window to add to.
struct ClearedGradients {
  explicit ClearedGradients(ParameterStore& store) : parameters(store) { parameters.clear_gradients(); }
  ~ClearedGradients() { parameters.clear_gradients(); }
  ClearedGradients(const ClearedGradients&) = delete;
  ClearedGradients& operator=(const ClearedGradients&) = delete;
  ParameterStore& parameters;
};

}  // namespace

std::optional<Overflow> find_overflow(const Accumulator& accumulator, const WindowReport& report,
                                      const std::function<RepeatedMicroBatch(std::int64_t)>& micro_batch) {
  check(!accumulator.window_open(), "find_overflow: inside a window");
  const ClearedGradients cleared(accumulator.parameters());
  const Tensor loss_scale = Tensor::from<float>(std::array{static_cast<float>(report.loss_scale)}, {1},
                                                accumulator.parameters().master().device());
  std::optional<Overflow> found;
  std::int64_t first_sample = 0;
  for (std::int64_t index = 0; index < report.micro_batches && !found; ++index) {
    const RepeatedMicroBatch repeated = micro_batch(index);
    Tape tape = accumulator.repeat_micro_batch(report.window, first_sample, loss_scale);
    tape.observe([&](const Parameter& parameter) {
      if (!found && !is_finite(parameter.grad())) found = {.parameter = parameter.name(), .micro_batch = index};
    });
    tape.backward(repeated.loss(tape).terms);
    first_sample += repeated.samples;
  }
  return found;
}

}  // namespace accrue::train
