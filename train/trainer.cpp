#include "train/trainer.h"

#include <chrono>
#include <utility>
#include <vector>

namespace accrue::train {

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
}

Batch Trainer::load(std::int64_t first_position, std::int64_t count) const {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < count; ++i) indices.push_back(sampler_.sample_at(first_position + i));
  return data_.batch(indices, device_);
}

WindowReport Trainer::run_window(std::int64_t index) {
  const Window window = windows_.window(index);
  const std::vector<MicroBatch> parts = micro_batches(window.count, options_.batch.micro);
  accumulator_.open_window(static_cast<std::int64_t>(parts.size()));
  std::optional<WindowReport> report;
  Batch batch = load(window.first_position + parts[0].first, parts[0].count);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Tape tape = accumulator_.begin_micro_batch(batch.samples());
    const nn::Loss loss = loss_(tape, batch);
    report = accumulator_.accumulate(tape, loss);
    // A device still computes then, and the next samples go there meanwhile: two batches are alive, never three.
    if (i + 1 < parts.size()) batch = load(window.first_position + parts[i + 1].first, parts[i + 1].count);
  }
  return report.value();
}

// The window that ends a diverged run is closed and counted before its error is thrown: it has a report like any other.
WindowReport Trainer::run_window(std::int64_t index, std::exception_ptr& divergence) {
  try {
    return run_window(index);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::numeric || accumulator_.window_open()) throw;
    divergence = std::current_exception();
    return accumulator_.last_window().value();
  }
}

bool Trainer::due(std::int64_t every, const WindowReport& report) const {
  return report.outcome == Outcome::updated && every > 0 && report.update % every == 0;
}

TrainingEnd Trainer::run() {
  using Clock = std::chrono::steady_clock;
  Allocator& allocator = Allocator::of(device_);
  allocator.reset_peak();
  TrainingEnd end = TrainingEnd::finished;
  std::int64_t empty_in_a_row = 0;
  bool saved = accumulator_.counters().window > 0;  // a restored state is that of a checkpoint
  while (accumulator_.counters().update < options_.steps) {
    const auto begin = Clock::now();
    std::exception_ptr divergence;
    const WindowReport report = run_window(accumulator_.counters().window, divergence);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    empty_in_a_row = report.outcome == Outcome::empty ? empty_in_a_row + 1 : 0;
    if (empty_in_a_row > windows_.windows_per_epoch())
      fail(ErrorKind::bad_data, "no window of a whole epoch has a target to learn from; every target is masked");

    WindowRecord record{
        .report = report,
        .seconds = seconds,
        .positions_per_second = static_cast<double>(report.samples * data_.positions_per_sample()) / seconds,
        .micro_batch = options_.batch.micro,
        .peak_bytes = allocator.stats().total.peak,
        .dropped_per_epoch = windows_.dropped_per_epoch()};
    const bool last = report.update == options_.steps;
    if (validation_ != nullptr && (last || due(options_.evaluate_every, report)))
      record.validation_loss = evaluate(loss_, *validation_, options_.batch.micro, device_).loss;
    if (on_window) on_window(record);
    if (divergence) {
      if (on_save) on_save();
      std::rethrow_exception(divergence);
    }
    saved = due(options_.save_every, report);
    if (saved && on_save) on_save();
    if (!last && stop_requested && stop_requested()) {
      end = TrainingEnd::stopped;
      break;
    }
  }
  if (!saved && on_save) on_save();
  return end;
}

}  // namespace accrue::train
