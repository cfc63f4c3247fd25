#include "train/accumulator.h"

#include <limits>
#include <utility>

#include "kernels/gradient_check.h"
#include "kernels/step_control.h"

namespace accrue::train {
namespace {

Outcome outcome_of(const kernels::StepState& state) {
  if (state.target_count == 0) return Outcome::empty;
  return state.apply != 0 ? Outcome::updated : Outcome::skipped;
}

// Bad data that a device has met in the window, and that nobody has waited for so far, goes with the window.
kernels::StepState state_of_dropped_window(const Tensor& state) {
  try {
    return kernels::read_step_state(state);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::bad_data) throw;
    return kernels::read_step_state(state);
  }
}

// The first parameter whose gradient is not finite; for the message that ends a run.
std::string first_non_finite(const ParameterStore& parameters, Device device) {
  for (const Parameter& parameter : parameters.parameters()) {
    const Tensor state = kernels::make_step_state(device);
    kernels::gradient_check({.state = state, .gradient = parameter.grad()});
    if (kernels::read_step_state(state).found_inf != 0) return parameter.name();
  }
  return "none of them alone (their sum of squares overflows)";
}

}  // namespace

Accumulator::Accumulator(ParameterStore& parameters, optim::Optimizer& optimizer, const AccumulatorOptions& options)
    : parameters_(parameters),
      optimizer_(optimizer),
      options_(options),
      state_(kernels::make_step_state(parameters.master().device())),
      planned_(options.accumulation) {
  if (options.accumulation < 1)
    fail(ErrorKind::usage, "accumulation must be at least 1 micro-batch a window, but is {}", options.accumulation);
  if (!(options.max_norm >= 0))
    fail(ErrorKind::usage, "the clipping norm must be 0 (off) or positive, but is {}", options.max_norm);
  if (options.patience < 1)
    fail(ErrorKind::usage, "the patience must be at least 1 window, but is {}", options.patience);
}

Tape Accumulator::begin_micro_batch(std::int64_t samples) {
  check(samples >= 0, "Accumulator: a micro-batch of {} samples", samples);
  MicroBatchContext context;
  context.random = {.seed = options_.seed,
                    .window = static_cast<std::uint32_t>(window_),
                    .first_sample = static_cast<std::uint32_t>(samples_in_window_)};
  context.mean_loss = options_.normalisation == Normalisation::mean_over_micro_batches;
  samples_in_window_ += samples;
  return Tape(std::move(context));
}

std::optional<WindowReport> Accumulator::accumulate(Tape& tape, const nn::Loss& loss) {
  tape.backward(loss.terms);
  kernels::add_loss_terms({.state = state_, .terms = loss.terms});
  ++micro_;
  ++micro_in_window_;
  if (!at_boundary()) return std::nullopt;
  return step();
}

void Accumulator::open_window(std::int64_t micro_batches) {
  check(!window_open(), "Accumulator: open_window() inside a window of {} micro-batches", micro_in_window_);
  check(micro_batches >= 1, "Accumulator: a window needs at least one micro-batch, but got {}", micro_batches);
  planned_ = micro_batches;
}

std::optional<WindowReport> Accumulator::close_window() {
  if (!window_open()) return std::nullopt;
  planned_ = micro_in_window_;
  return step();
}

std::int64_t Accumulator::drop_window() {
  parameters_.clear_gradients();
  micro_in_window_ = 0;
  kernels::StepState state = state_of_dropped_window(state_);
  state.loss_sum = 0;
  state.target_count = 0;
  state.squared_norm = 0;
  state.found_inf = 0;
  kernels::write_step_state(state_, state);
  planned_ = options_.accumulation;
  return std::exchange(samples_in_window_, 0);
}

// The boundary in the contract's order (17): finite check and norm, clip factor, optimizer, counters, clear.
WindowReport Accumulator::step() {
  const bool mean = options_.normalisation == Normalisation::mean_over_micro_batches;
  parameters_.settle_gradients();
  kernels::gradient_check({.state = state_, .gradient = parameters_.gradients()});
  kernels::begin_step({.state = state_,
                       .schedule = options_.schedule,
                       .divisor_override = mean ? static_cast<double>(micro_in_window_) : 0.0,
                       .max_norm = options_.max_norm});
  optimizer_.step(state_);
  const kernels::StepState before = kernels::read_step_state(state_);
  kernels::finish_step({.state = state_});
  const kernels::StepState after = kernels::read_step_state(state_);
  const bool diverged = after.skipped_in_a_row >= options_.patience;
  const std::string culprit = diverged ? first_non_finite(parameters_, state_.device()) : std::string();
  parameters_.clear_gradients();

  const auto targets = static_cast<double>(before.target_count);
  last_window_ = WindowReport{
      .outcome = outcome_of(before),
      .window = window_,
      .update = after.update,
      .micro_batches = micro_in_window_,
      .samples = samples_in_window_,
      .targets = before.target_count,
      .loss = before.target_count == 0 ? std::numeric_limits<double>::quiet_NaN() : before.loss_sum / targets,
      .grad_norm = before.grad_norm,
      .learning_rate = before.learning_rate};
  ++window_;
  micro_in_window_ = 0;
  samples_in_window_ = 0;
  planned_ = options_.accumulation;
  // Only now, with the window closed and counted: a checkpoint can still be made of what is there.
  if (diverged)
    fail(ErrorKind::numeric,
         "the gradient was not finite in {} windows in a row (first non-finite parameter gradient: {}); the weights "
         "are those of update {}. Lower --learning-rate, set --clip, or look at the data",
         after.skipped_in_a_row, culprit, after.update);
  return *last_window_;
}

Counters Accumulator::counters() const {
  const kernels::StepState state = kernels::read_step_state(state_);
  return {.micro = micro_, .window = window_, .update = state.update, .skipped = state.skipped, .empty = state.empty};
}

Accumulator::State Accumulator::state() const {
  check(!window_open(), "Accumulator: state() inside a window");
  return {.micro = micro_, .window = window_, .step = kernels::read_step_state(state_)};
}

void Accumulator::restore(const State& state) {
  check(!window_open(), "Accumulator: restore() inside a window");
  micro_ = state.micro;
  window_ = state.window;
  kernels::write_step_state(state_, state.step);
}

}  // namespace accrue::train
