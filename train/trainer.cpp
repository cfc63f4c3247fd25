#include "train/trainer.h"

#include <utility>

#include "train/overflow_search.h"

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
  accumulator_.on_overflow = [this](WindowReport& report) { explain_overflow(report); };
}

Trainer::~Trainer() { accumulator_.on_overflow = nullptr; }

std::vector<MicroBatch> Trainer::micro_batches_of(std::int64_t window) const {
  return micro_batches(windows_.window(window).count, options_.batch.micro);
}

Batch Trainer::load(const MicroBatch& part, std::int64_t window) const {
  const std::int64_t first_position = windows_.window(window).first_position + part.first;
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(part.count));  // what no machine holds fails here, not by growing until then
  for (std::int64_t i = 0; i < part.count; ++i) indices.push_back(sampler_.sample_at(first_position + i));
  return data_.batch(indices, device_);
}

std::optional<WindowReport> Trainer::run_window(std::int64_t index) {
  const std::vector<MicroBatch> parts = micro_batches_of(index);
  accumulator_.open_window(std::ssize(parts));
  std::optional<WindowReport> report;
  Batch batch = load(parts[0], index);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Tape tape = accumulator_.begin_micro_batch(batch.samples());
    const nn::Loss loss = loss_(tape, batch);
    report = accumulator_.accumulate(tape, loss);
    // A device still computes then, and the next samples go there meanwhile: two batches are alive, never three.
    if (i + 1 < parts.size()) batch = load(parts[i + 1], index);
  }
  return report;
}

void Trainer::explain_overflow(WindowReport& report) {
  const std::vector<MicroBatch> parts = micro_batches_of(report.window);
  const auto repeat = [&](std::int64_t index) {
    const MicroBatch& part = parts[static_cast<std::size_t>(index)];
    return RepeatedMicroBatch{.samples = part.count,
                              .loss = [&](Tape& tape) { return loss_(tape, load(part, report.window)); }};
  };
  if (const std::optional<Overflow> found = find_overflow(accumulator_, report, repeat)) report.overflow = found;
  if (on_overflow) on_overflow(report);
}

bool Trainer::due(std::int64_t every, std::int64_t update) const { return every > 0 && update % every == 0; }

bool Trainer::must_know() const {
  const std::int64_t next = update_ + 1;
  return next == options_.steps || due(options_.evaluate_every, next) || due(options_.save_every, next);
}

void Trainer::save() {
  if (on_save) on_save();
  saved_ = true;
}

void Trainer::require_targets(const WindowReport& report) {
  empty_in_a_row_ = report.outcome == Outcome::empty ? empty_in_a_row_ + 1 : 0;
  if (empty_in_a_row_ > windows_.windows_per_epoch())
    fail(ErrorKind::bad_data, "no window of a whole epoch has a target to learn from; every target is masked");
}

WindowRecord Trainer::record_of(const WindowReport& report) {
  WindowRecord record{
      .report = report,
      .replayed = std::exchange(replayed_, {}),
      .positions_per_second = static_cast<double>(report.samples * data_.positions_per_sample()) / report.seconds,
      .micro_batch = options_.batch.micro,
      .peak_bytes = Allocator::of(device_).stats().total.peak,
      .dropped_per_epoch = windows_.dropped_per_epoch()};
  const bool evaluates = update_ == options_.steps || due(options_.evaluate_every, update_);
  if (validation_ != nullptr && evaluates && report.outcome == Outcome::updated)
    record.validation_loss = evaluate(loss_, *validation_, options_.batch.micro, device_).loss;
  return record;
}

void Trainer::handle(const std::optional<WindowReport>& report) {
  if (!report) return;
  update_ = report->update;
  saved_ = false;
  if (report->outcome == Outcome::replayed) {
    replayed_.push_back(*report);
    return;
  }
  require_targets(*report);
  const WindowRecord record = record_of(*report);
  if (on_window) on_window(record);
  if (report->outcome == Outcome::updated && due(options_.save_every, update_)) save();
}

TrainingEnd Trainer::train() {
  bool stop = false;
  while (update_ < options_.steps) {
    handle(run_window(accumulator_.next_window()));
    stop = stop || (stop_requested && stop_requested());
    if (stop || must_know()) handle(accumulator_.flush());
    // A window that is being replayed ends first: the log has one line for all of its attempts.
    if (stop && replayed_.empty() && update_ < options_.steps) return TrainingEnd::stopped;
  }
  return TrainingEnd::finished;
}

TrainingEnd Trainer::run() {
  Allocator::of(device_).reset_peak();
  const Counters before = accumulator_.counters();
  update_ = before.update;
  saved_ = before.window > 0;  // a restored state is that of a checkpoint
  TrainingEnd end = TrainingEnd::finished;
  try {
    end = train();
  } catch (const Error& error) {
    // The window that ends a diverged run is closed and counted: it has a report like any other.
    if (error.kind() != ErrorKind::numeric || accumulator_.window_open()) throw;
    handle(accumulator_.last_window());
    save();
    throw;
  }
  if (!saved_) save();
  return end;
}

}  // namespace accrue::train
