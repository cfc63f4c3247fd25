#include "train/trainer.h"

#include <algorithm>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "kernels/operation_observer.h"
#include "train/overflow_search.h"

namespace accrue::train {
namespace {

// Ends a micro-batch or an evaluation that must not be waited for; never leaves the trainer.
struct Interrupted {};

}  // namespace

Trainer::Trainer(Accumulator& accumulator, LossFunction loss, const Dataset& data, const Dataset* validation,
                 const TrainerOptions& options, Device device)
    : accumulator_(accumulator),
      loss_(std::move(loss)),
      data_(data),
      validation_(validation),
      options_(options),
      device_(device),
      sampler_(data.size(), options.order, options.seed),
      windows_(data.size(), options.batch.global, options.partial) {
  if (options.steps < 0) fail(ErrorKind::usage, "--steps must not be negative, but is {}", options.steps);
  accumulator_.on_overflow = [this](WindowReport& report) { explain_overflow(report); };
}

Trainer::~Trainer() { accumulator_.on_overflow = nullptr; }

void Trainer::restore(TrainerState state, CheckpointOf run) {
  const std::int64_t arrived = accumulator_.samples_in_window();
  if (accumulator_.window_open() && arrived >= windows_.window(accumulator_.next_window()).count)
    fail(ErrorKind::bad_data, "the checkpoint has {} samples of window {}, which has no more than {}; it is damaged",
         arrived, accumulator_.next_window(), windows_.window(accumulator_.next_window()).count);
  replayed_ = std::move(state.replayed);
  unlogged_ = std::move(state.unlogged);
  if (run == CheckpointOf::this_run) saved_at_ = position();
}

std::vector<MicroBatch> Trainer::micro_batches_of(std::int64_t window, std::int64_t first_sample) const {
  std::vector<MicroBatch> parts = micro_batches(windows_.window(window).count - first_sample, options_.batch.micro);
  for (MicroBatch& part : parts) part.first += first_sample;
  return parts;
}

Batch Trainer::load(const MicroBatch& part, std::int64_t window) const {
  const kernels::ObservedCall observed("data loading");
  const std::int64_t first_position = windows_.window(window).first_position + part.first;
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(part.count));  // what no machine holds fails here, not by growing until then
  for (std::int64_t i = 0; i < part.count; ++i) indices.push_back(sampler_.sample_at(first_position + i));
  return data_.batch(indices, device_);
}

void Trainer::poll() const {
  if (must_stop_at_once && must_stop_at_once()) throw Interrupted();
}

bool Trainer::must_stop() {
  stop_ = stop_ || (stop_requested && stop_requested());
  return stop_;
}

std::optional<WindowReport> Trainer::run_micro_batch(const Batch& batch) {
  Tape tape = accumulator_.begin_micro_batch(batch.samples());
  if (must_stop_at_once) tape.poll_with([this] { poll(); });
  nn::Loss loss;
  try {
    loss = loss_(tape, batch);
  } catch (...) {
    accumulator_.abandon_micro_batch();
    throw;
  }
  return accumulator_.accumulate(tape, loss);
}

std::optional<WindowReport> Trainer::run_window() {
  const std::int64_t window = accumulator_.next_window(), arrived = accumulator_.samples_in_window();
  const std::vector<MicroBatch> parts = micro_batches_of(window, arrived);
  const std::unique_ptr<OperationRecorder> recorder = profiler != nullptr ? profiler->begin_window() : nullptr;
  if (accumulator_.window_open()) {
    accumulator_.continue_window(std::ssize(parts));
  } else {
    accumulator_.open_window(std::ssize(parts));
  }
  Batch batch = load(parts[0], window);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::optional<WindowReport> report = run_micro_batch(batch);
    if (i + 1 == parts.size()) {
      // Around an overflow windows are run again, to search or because they were held.
      if (recorder && !(report && report->overflow))
        profiler->finish_window(*recorder, {.window = window,
                                            .micro_batches = std::ssize(parts),
                                            .samples = windows_.window(window).count - arrived,
                                            .samples_before = arrived});
      return report;
    }
    // A device still computes then, and the next samples go there meanwhile: two batches are alive, never three.
    batch = load(parts[i + 1], window);
    if (pause(window)) break;
  }
  return std::nullopt;
}

bool Trainer::pause(std::int64_t window) {
  const bool save = save_is_due_by_time();
  if (must_stop() || save) handle(accumulator_.flush());
  if (save) save_on_the_way();
  // An overflow of the window before has just made this one start again.
  const bool forgotten = accumulator_.next_window() != window || !accumulator_.window_open();
  return stop_ || forgotten;
}

void Trainer::explain_overflow(WindowReport& report) {
  const std::vector<MicroBatch> parts = micro_batches_of(report.window);
  const auto repeat = [&](std::int64_t index) {
    const MicroBatch& part = parts[static_cast<std::size_t>(index)];
    return RepeatedMicroBatch{.samples = part.count, .loss = [&](Tape& tape) {
                                if (must_stop_at_once) tape.poll_with([this] { poll(); });
                                return loss_(tape, load(part, report.window));
                              }};
  };
  // A window that was resumed with micro-batches of another size has no numbering of its own any more.
  const bool same_split = std::ssize(parts) == report.micro_batches;
  try {
    const auto found = same_split ? find_overflow(accumulator_, report, repeat) : std::nullopt;
    if (found) report.overflow = found;
  } catch (const Interrupted&) {
    stop_ = true;  // what overflowed is known; in which micro-batch is not worth waiting for
  }
  if (on_overflow) on_overflow(report);
}

bool Trainer::due(std::int64_t every, std::int64_t update) const { return every > 0 && update % every == 0; }

bool Trainer::save_is_due_by_time() const {
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - last_save_;
  return options_.save_every.seconds > 0 && passed.count() >= options_.save_every.seconds;
}

bool Trainer::must_know() const {
  const std::int64_t next = update_ + 1;
  return next == options_.steps || due(options_.evaluate_every, next) || due(options_.save_every.updates, next);
}

Trainer::Position Trainer::position() const {
  const Accumulator::State state = accumulator_.state();
  return {.window = state.window,
          .replayed = state.step.replayed,
          .samples = state.samples_in_window,
          .evaluated = !unlogged_};
}

void Trainer::save() {
  if (on_save) on_save();
  saved_at_ = position();
}

void Trainer::save_on_the_way() {
  last_save_ = std::chrono::steady_clock::now();
  if (is_saved()) return;
  try {
    save();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::cannot_create && error.kind() != ErrorKind::memory)
      throw;
    if (on_save_failed) on_save_failed(error.what());
  } catch (const std::system_error& error) {
    if (on_save_failed) on_save_failed(error.what());
  } catch (const std::bad_alloc&) {
    if (on_save_failed) on_save_failed("out of host memory");
  }
}

// The error under way is the one to be told, whatever comes on top of it.
void Trainer::save_before_failing(const std::function<std::optional<WindowReport>()>& last_report) {
  try {
    handle(last_report());
  } catch (const std::exception&) {
    // What the last window has met, or its evaluation: either comes again when the run is resumed.
  } catch (const Interrupted&) {
  }
  try {
    const bool nothing_done = accumulator_.state().micro == 0;
    if (!nothing_done) save_on_the_way();
  } catch (const std::exception& error) {
    if (on_save_failed) on_save_failed(error.what());
  }
}

void Trainer::require_targets(const WindowReport& report) {
  empty_in_a_row_ = report.outcome == Outcome::empty ? empty_in_a_row_ + 1 : 0;
  if (empty_in_a_row_ > windows_.windows_per_epoch())
    fail(ErrorKind::bad_data, "no window of a whole epoch has a target to learn from; every target is masked");
}

WindowRecord Trainer::record_of(const WindowReport& report) {
  WindowRecord record{.report = report,
                      .replayed = replayed_,
                      .positions_per_second = static_cast<double>(report.timed_samples) *
                                              static_cast<double>(data_.positions_per_sample()) / report.seconds,
                      .micro_batch = options_.batch.micro,
                      .peak_bytes = Allocator::of(device_).stats().total.peak,
                      .dropped_per_epoch = windows_.dropped_per_epoch()};
  const bool evaluates = update_ == options_.steps || due(options_.evaluate_every, update_);
  if (validation_ != nullptr && evaluates && report.outcome == Outcome::updated)
    record.validation_loss = evaluate(loss_, *validation_, options_.batch.micro, device_, [this] { poll(); }).loss;
  return record;
}

void Trainer::handle(const std::optional<WindowReport>& report) {
  if (!report) return;
  update_ = report->update;
  if (report->outcome == Outcome::replayed) {
    replayed_.push_back(*report);
    return;
  }
  conclude(*report);
  require_targets(*report);
}

// Evaluates, logs and saves, as is due after a window. Interrupted in the evaluation, it is done when the run resumes.
void Trainer::conclude(const WindowReport& report) {
  unlogged_ = report;
  const WindowRecord record = record_of(report);
  if (on_window) on_window(record);
  // Only then: a checkpoint that is saved because this failed must not say that it was logged.
  unlogged_.reset();
  replayed_.clear();
  if (report.outcome == Outcome::updated && due(options_.save_every.updates, update_)) save_on_the_way();
}

void Trainer::handle_what_is_under_way() {
  try {
    handle(accumulator_.flush());
  } catch (const Interrupted&) {
    stop_ = true;
  }
}

TrainingEnd Trainer::train() {
  try {
    if (unlogged_) conclude(WindowReport(*unlogged_));
    while (update_ < options_.steps && !stop_) {
      // Once the window's batches are gone: an evaluation needs memory, too.
      handle(run_window());
      const bool save = save_is_due_by_time();
      if (must_stop() || must_know() || save) handle(accumulator_.flush());
      if (save) save_on_the_way();
    }
  } catch (const Interrupted&) {
    stop_ = true;
  }
  if (stop_) handle_what_is_under_way();
  const bool finished = update_ >= options_.steps && !unlogged_;
  return finished ? TrainingEnd::finished : TrainingEnd::stopped;
}

TrainingEnd Trainer::run() {
  Allocator::of(device_).reset_peak();
  update_ = accumulator_.state().step.update;
  last_save_ = std::chrono::steady_clock::now();
  stop_ = false;
  if (profiler != nullptr) profiler->expect(options_.steps - update_);
  TrainingEnd end = TrainingEnd::finished;
  try {
    end = train();
  } catch (const Error& error) {
    // The window that ends a diverged run is closed and counted: it has a report like any other.
    if (error.kind() == ErrorKind::numeric && !accumulator_.window_open())
      save_before_failing([this] { return accumulator_.last_window(); });
    else if (error.kind() != ErrorKind::internal && error.kind() != ErrorKind::numeric)
      save_before_failing([this] { return accumulator_.flush(); });
    throw;
  } catch (const std::bad_alloc&) {
    save_before_failing([this] { return accumulator_.flush(); });
    throw;
  }
  if (!is_saved()) save();
  return end;
}

}  // namespace accrue::train
