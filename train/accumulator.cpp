#include "train/accumulator.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/find_overflow.h"
#include "kernels/gradient_check.h"
#include "kernels/step_control.h"

namespace accrue::train {
namespace {

Outcome outcome_of(const kernels::StepState& before, const kernels::StepState& after) {
  if (before.target_count == 0) return Outcome::empty;
  if (before.apply != 0) return Outcome::updated;
  return after.replayed > before.replayed ? Outcome::replayed : Outcome::skipped;
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

void forget_sums(kernels::StepState& state) {
  state.loss_sum = 0;
  state.target_count = 0;
  state.squared_norm = 0;
  state.found_inf = 0;
}

kernels::StepState state_in(const std::byte* bytes) {
  kernels::StepState state;
  std::memcpy(&state, bytes, sizeof state);
  return state;
}

}  // namespace

Accumulator::Accumulator(ParameterStore& parameters, optim::Optimizer& optimizer, const AccumulatorOptions& options)
    : parameters_(parameters),
      optimizer_(optimizer),
      options_(options),
      state_(kernels::make_step_state(parameters.master().device())),
      slices_(kernels::slices_of(parameters)),
      planned_(options.accumulation) {
  if (options.accumulation < 1)
    fail(ErrorKind::usage, "accumulation must be at least 1 micro-batch a window, but is {}", options.accumulation);
  if (!(options.max_norm >= 0))
    fail(ErrorKind::usage, "the clipping norm must be 0 (off) or positive, but is {}", options.max_norm);
  if (options.patience < 1)
    fail(ErrorKind::usage, "the patience must be at least 1 window, but is {}", options.patience);
  if (options.on_overflow == kernels::OnOverflow::replay && !options.scaling.dynamic)
    fail(ErrorKind::usage, "replaying a window after an overflow needs a dynamic loss scale: it would overflow again");
  if (options.scaling.interval < 1)
    fail(ErrorKind::usage, "the loss scale must grow after at least 1 window, but after {} here",
         options.scaling.interval);
  for (const auto& [name, factor] : {std::pair{"loss scale", options.loss_scale},
                                     {"growth of the loss scale", options.scaling.growth},
                                     {"backoff of the loss scale", options.scaling.backoff},
                                     {"smallest loss scale", options.scaling.minimum},
                                     {"largest loss scale", options.scaling.maximum}})
    if (!kernels::is_power_of_two(factor))
      fail(ErrorKind::usage, "the {} must be a power of two, but is {}", name, factor);
  if (!(options.scaling.growth > 1 && options.scaling.backoff < 1))
    fail(ErrorKind::usage, "the loss scale must grow by more than 1 and fall by less, but has factors of {} and {}",
         options.scaling.growth, options.scaling.backoff);
  if (options.scaling.dynamic &&
      !(options.loss_scale >= options.scaling.minimum && options.loss_scale <= options.scaling.maximum))
    fail(ErrorKind::usage, "the loss scale must begin between {} and {}, but is {}", options.scaling.minimum,
         options.scaling.maximum, options.loss_scale);
  kernels::StepState first;
  first.loss_scale = options.loss_scale;
  kernels::write_step_state(state_, first);
  DeviceMemory& memory = Allocator::of(state_.device()).memory();
  for (Closed& closed : closed_) {
    closed.before = memory.readback(sizeof(kernels::StepState));
    closed.after = memory.readback(sizeof(kernels::StepState));
    closed.stopwatch = memory.stopwatch();
  }
}

Tape Accumulator::begin_micro_batch(std::int64_t samples) {
  check(samples >= 0, "Accumulator: a micro-batch of {} samples", samples);
  if (!timed_) start_stopwatch();
  samples_of_micro_batch_ = samples;
  return repeat_micro_batch(window_, std::exchange(samples_in_window_, samples_in_window_ + samples),
                            kernels::loss_scale_of(state_));
}

Tape Accumulator::repeat_micro_batch(std::int64_t window, std::int64_t first_sample, const Tensor& loss_scale) const {
  MicroBatchContext context;
  context.random = {.seed = options_.seed,
                    .window = static_cast<std::uint32_t>(window),
                    .first_sample = static_cast<std::uint32_t>(first_sample)};
  context.loss_scale = loss_scale;
  context.mean_loss = options_.normalisation == Normalisation::mean_over_micro_batches;
  return Tape(std::move(context));
}

void Accumulator::abandon_micro_batch() { samples_in_window_ -= std::exchange(samples_of_micro_batch_, 0); }

std::optional<WindowReport> Accumulator::accumulate(Tape& tape, const nn::Loss& loss) {
  try {
    tape.backward(loss.terms);
  } catch (...) {
    forget_window();
    throw;
  }
  samples_of_micro_batch_ = 0;
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
  start_stopwatch();
}

void Accumulator::continue_window(std::int64_t micro_batches) {
  check(window_open(), "Accumulator: continue_window() between windows");
  check(micro_batches >= 1, "Accumulator: an open window has at least one micro-batch to come, but got {}",
        micro_batches);
  planned_ = micro_in_window_ + micro_batches;
}

std::optional<WindowReport> Accumulator::close_window() {
  if (!window_open()) return std::nullopt;
  planned_ = micro_in_window_;
  return step();
}

std::int64_t Accumulator::drop_window() {
  const std::int64_t samples = samples_in_window_;
  open(window_, micro_ - micro_in_window_);
  // What a closed window has met is told first, as its error is with the device.
  for (Closed& closed : closed_)
    if (closed.under_way && state_in(closed.before->wait()).held != 0) throw_bad_data(closed);
  kernels::StepState state = state_of_dropped_window(state_);
  forget_sums(state);
  // Bad data of this window holds nobody up any more; an overflow of a closed one is still to be reported.
  if (!reports_to_come()) state.held = 0;
  kernels::write_step_state(state_, state);
  return samples;
}

// The boundary in the contract's order (17): finite check and norm, clip factor, optimizer, loss scale and counters,
// clear. Nothing of it waits for the device.
std::optional<WindowReport> Accumulator::step() {
  if (!timed_) start_stopwatch();
  const bool mean = options_.normalisation == Normalisation::mean_over_micro_batches;
  parameters_.settle_gradients();
  kernels::gradient_check({.state = state_, .gradient = parameters_.gradients()});
  kernels::find_overflow({.state = state_, .gradient = parameters_.gradients(), .slices = slices_});
  kernels::begin_step({.state = state_,
                       .schedule = options_.schedule,
                       .divisor_override = mean ? static_cast<double>(micro_in_window_) : 0.0,
                       .max_norm = options_.max_norm});
  optimizer_.step(state_);
  Closed& closed = closed_of(window_);
  closed.before->begin(state_.raw());
  kernels::finish_step({.state = state_, .scaling = options_.scaling, .on_overflow = options_.on_overflow});
  closed.after->begin(state_.raw());
  closed.stopwatch->stop();
  closed.under_way = true;
  closed.first_micro = micro_ - micro_in_window_;
  closed.report = {.window = window_,
                   .micro_batches = micro_in_window_,
                   .samples = samples_in_window_,
                   .timed_samples = samples_in_window_ - restored_samples_};
  open(window_ + 1, micro_);
  return collect(options_.reports == Reports::at_once ? closed : closed_of(window_));
}

std::optional<WindowReport> Accumulator::flush() { return collect(closed_of(window_ + 1)); }

// A window and the one before the last share a place: at most the last two are under way.
Accumulator::Closed& Accumulator::closed_of(std::int64_t window) {
  return closed_[static_cast<std::size_t>(window % 2)];
}

void Accumulator::start_stopwatch() {
  closed_of(window_).stopwatch->start();
  timed_ = true;
}

void Accumulator::open(std::int64_t window, std::int64_t micro) {
  parameters_.clear_gradients();
  window_ = window;
  micro_ = micro;
  micro_in_window_ = 0;
  samples_in_window_ = 0;
  samples_of_micro_batch_ = 0;
  restored_samples_ = 0;
  planned_ = options_.accumulation;
  timed_ = false;
}

// The weights are those from before the open window; with its sums gone it can start again. A device that no longer
// answers keeps its sums, but then nothing can be computed there anyway, and the error under way says more.
void Accumulator::forget_window() noexcept {
  try {
    open(window_, micro_ - micro_in_window_);
    kernels::StepState state = state_of_dropped_window(state_);
    forget_sums(state);
    if (!reports_to_come()) state.held = 0;
    kernels::write_step_state(state_, state);
  } catch (...) {
    return;
  }
}

// What has been begun since an overflow, or since a device met bad data, has been held: it is forgotten.
void Accumulator::reopen(std::int64_t window, std::int64_t micro) {
  for (Closed& closed : closed_) closed.under_way = false;
  kernels::StepState state = state_of_dropped_window(state_);
  forget_sums(state);
  state.held = 0;
  kernels::write_step_state(state_, state);
  open(window, micro);
}

std::optional<WindowReport> Accumulator::collect(Closed& closed) {
  if (!std::exchange(closed.under_way, false)) return std::nullopt;
  const kernels::StepState before = state_in(closed.before->wait()), after = state_in(closed.after->wait());
  if (before.held != 0) throw_bad_data(closed);
  WindowReport report = closed.report;
  complete(report, before, after);
  report.seconds = closed.stopwatch->seconds();
  last_window_ = report;
  if (report.overflow) {
    const bool again = report.outcome == Outcome::replayed;
    reopen(report.window + (again ? 0 : 1), closed.first_micro + (again ? 0 : report.micro_batches));
    if (on_overflow) on_overflow(report);
    last_window_ = report;
  }
  if (report.overflow && after.floor_overflows >= options_.patience) give_up(report, after.floor_overflows);
  return report;
}

void Accumulator::throw_bad_data(const Closed& closed) {
  std::exception_ptr fault;
  try {
    kernels::read_step_state(state_);
  } catch (const Error&) {
    fault = std::current_exception();
  }
  reopen(closed.report.window, closed.first_micro);
  if (fault) std::rethrow_exception(fault);
  fail(ErrorKind::bad_data, "window {} has met bad data, of which the error came earlier", closed.report.window);
}

void Accumulator::complete(WindowReport& report, const kernels::StepState& before,
                           const kernels::StepState& after) const {
  report.outcome = outcome_of(before, after);
  report.update = after.update;
  report.targets = before.target_count;
  report.loss = before.target_count == 0 ? std::numeric_limits<double>::quiet_NaN()
                                         : before.loss_sum / static_cast<double>(before.target_count);
  report.grad_norm = before.grad_norm;
  report.learning_rate = before.learning_rate;
  report.loss_scale = before.loss_scale;
  report.next_loss_scale = after.loss_scale;
  const bool overflowed = report.outcome == Outcome::skipped || report.outcome == Outcome::replayed;
  check(!overflowed || before.overflowed >= 0, "Accumulator: a number between the parameters' gradients is not finite");
  if (overflowed)
    report.overflow =
        Overflow{.parameter = parameters_.parameters()[static_cast<std::size_t>(before.overflowed)].name(),
                 .micro_batch = std::nullopt};
}

void Accumulator::give_up(const WindowReport& report, std::int64_t windows) const {
  const std::string where = report.overflow->micro_batch
                                ? fmt::format(", in micro-batch {} of {} of window {}",
                                              *report.overflow->micro_batch + 1, report.micro_batches, report.window)
                                : std::string();
  fail(ErrorKind::numeric,
       "the gradient was not finite in {} windows in a row{} (first non-finite parameter gradient: {}{}); the weights "
       "are those of update {}. {}ower --learning-rate, set --clip, or look at the data",
       windows,
       options_.scaling.dynamic ? fmt::format(", with the loss scale at its floor, {}", report.loss_scale)
                                : std::string(),
       report.overflow->parameter, where, report.update,
       !options_.scaling.dynamic && report.loss_scale > 1 ? "Lower --loss-scale or make it dynamic, l" : "L");
}

bool Accumulator::reports_to_come() const { return closed_[0].under_way || closed_[1].under_way; }

Counters Accumulator::counters() const {
  check(!reports_to_come(), "Accumulator: counters() before flush()");
  const kernels::StepState state = kernels::read_step_state(state_);
  return {.micro = micro_,
          .window = window_,
          .update = state.update,
          .skipped = state.skipped,
          .empty = state.empty,
          .replayed = state.replayed};
}

Accumulator::State Accumulator::state() const {
  check(!reports_to_come(), "Accumulator: state() before flush()");
  return {.micro = micro_,
          .window = window_,
          .dynamic_scaling = options_.scaling.dynamic,
          .step = kernels::read_step_state(state_),
          .micro_in_window = micro_in_window_,
          .samples_in_window = samples_in_window_,
          .normalisation = options_.normalisation,
          .accumulate_dtype = parameters_.accumulate_dtype()};
}

// The loss scale is the state's own where both are dynamic.
bool Accumulator::continues(const State& state) const {
  const bool same_scale = state.dynamic_scaling == options_.scaling.dynamic &&
                          (options_.scaling.dynamic || state.step.loss_scale == options_.loss_scale);
  return state.micro_in_window > 0 && same_scale && state.normalisation == options_.normalisation &&
         state.accumulate_dtype == parameters_.accumulate_dtype();
}

void Accumulator::restore(const State& state) {
  check(!window_open(), "Accumulator: restore() inside a window");
  for (Closed& closed : closed_) closed.under_way = false;
  const bool goes_on = continues(state);
  kernels::StepState step = state.step;
  // Whoever resumes a run that has given up means to give it another chance.
  if (step.floor_overflows >= options_.patience) step.floor_overflows = 0;
  if (!state.dynamic_scaling || !options_.scaling.dynamic) {
    step.loss_scale = options_.loss_scale;
    step.clean_windows = 0;
  }
  if (!goes_on) forget_sums(step);
  kernels::write_step_state(state_, step);
  open(state.window, state.micro - (goes_on ? 0 : state.micro_in_window));
  if (goes_on) {
    micro_in_window_ = state.micro_in_window;
    samples_in_window_ = restored_samples_ = state.samples_in_window;
    planned_ = micro_in_window_ + 1;  // until continue_window()
  }
}

}  // namespace accrue::train
