#include "train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format_bytes.h"
#include "train/atomic_file.h"
#include "train/profile_table.h"
#include "train/profile_trace.h"
#include "train/stop_signals.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

std::string to_string(PartialWindow partial) {
  return partial == PartialWindow::step ? "step" : partial == PartialWindow::drop ? "drop" : "carry";
}

nlohmann::json overflow_object(const WindowReport& report) {
  nlohmann::json object = nlohmann::json::object();
  object["parameter"] = report.overflow->parameter;
  object["loss_scale"] = report.loss_scale;
  if (report.overflow->micro_batch) object["micro_batch_index"] = *report.overflow->micro_batch;
  return object;
}

nlohmann::json metrics_object(const WindowRecord& record, const std::string& unit) {
  const WindowReport& report = record.report;
  nlohmann::json object = nlohmann::json::object();
  object["update"] = report.update;
  object["window"] = report.window;
  object["loss"] = json_number(report.loss);
  object["grad_norm"] = json_number(report.grad_norm);
  object["learning_rate"] = report.learning_rate;
  object["loss_scale"] = report.loss_scale;
  object[unit + "_per_second"] = json_number(record.positions_per_second);
  object["micro_batch"] = record.micro_batch;
  object["accumulation"] = report.micro_batches;
  object["targets"] = report.targets;
  object["peak_bytes"] = record.peak_bytes;
  if (record.dropped_per_epoch > 0) object["dropped_per_epoch"] = record.dropped_per_epoch;
  if (record.validation_loss) object["validation_loss"] = json_number(*record.validation_loss);
  if (!record.replayed.empty()) {
    nlohmann::json& replayed = object["replayed"] = nlohmann::json::array();
    for (const WindowReport& attempt : record.replayed) replayed.push_back(overflow_object(attempt));
  }
  if (report.outcome == Outcome::skipped) {
    object["outcome"] = "skipped: the gradient is not finite";
    object["overflow"] = overflow_object(report);
  }
  if (report.outcome == Outcome::empty) object["outcome"] = "empty: the window has no target";
  return object;
}

// How long a micro-batch or an evaluation may go on after a signal. A supervisor waits ten seconds before it kills, and
// the checkpoint takes some of them.
constexpr double patience_after_signal = 4;

constexpr char keep_option[] = "--keep";
constexpr std::int64_t usual_keep = 3;

std::string plural(std::int64_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

}  // namespace

std::string describe_windows(std::int64_t dataset_size, const BatchPlan& batch, PartialWindow partial) {
  const WindowPlan plan(dataset_size, batch.global, partial);
  const std::int64_t rest = dataset_size % batch.global;
  if (rest == 0 || partial == PartialWindow::carry) return {};
  const std::string epoch =
      fmt::format("windows: {} an epoch of {}", plan.windows_per_epoch(), plural(dataset_size, "sample"));
  if (partial == PartialWindow::drop)
    return fmt::format("{}; --partial-window drop leaves {} of each epoch out", epoch,
                       plural(plan.dropped_per_epoch(), "sample"));
  if (dataset_size > batch.global) return fmt::format("{}; the last holds {}", epoch, rest);
  return fmt::format("{}, which are fewer than the global batch: each update sees all {}, in micro-batches of {}",
                     epoch, dataset_size, std::min(batch.micro, dataset_size));
}

std::string describe_overflow(const WindowReport& report) {
  const bool scaled = report.loss_scale != 1 || report.next_loss_scale != 1;
  std::string text =
      fmt::format("window {} {}: the gradient of {} is not finite", report.window,
                  report.outcome == Outcome::replayed ? "overflowed" : "skipped", report.overflow->parameter);
  if (report.overflow->micro_batch)
    text += fmt::format(" from micro-batch {} of {} on", *report.overflow->micro_batch + 1, report.micro_batches);
  if (scaled) text += fmt::format(", at loss scale {}", report.loss_scale);
  if (report.outcome == Outcome::replayed)
    return text + fmt::format("; it runs again at loss scale {}", report.next_loss_scale);
  text += fmt::format("; the weights stay those of update {}", report.update);
  if (report.next_loss_scale != report.loss_scale)
    text += fmt::format(", the loss scale falls to {}", report.next_loss_scale);
  return text;
}

std::string describe_space(std::uintmax_t available, std::int64_t parameters, std::int64_t checkpoints) {
  // Weights and AdamW's two moments in f32, and inside a window its gradients.
  const std::uintmax_t each = static_cast<std::uintmax_t>(parameters) * 16,
                       needed = each * static_cast<std::uintmax_t>(checkpoints);
  if (available >= needed) return {};
  return fmt::format(
      "{} are free on the disk of --out, but a checkpoint takes up to {}, and those that are still to come {}; "
      "a smaller --keep needs less",
      format_bytes(available), format_bytes(each), format_bytes(needed));
}

Run::Run(const TrainingOptions& options, RunSubject subject, RunStart start)
    : options_(options),
      settings_{.program = subject.program,
                .data = subject.identity,
                .seed = options.seed,
                .global_batch = subject.batch.global,
                .data_order = options.data_order,
                .partial_window = to_string(partial_window(options)),
                .dataset_size = subject.data.size(),
                .steps = options.steps,
                .rules = training_rules(options, subject.batch, subject.dropout)},
      keep_(options.keep.value_or(usual_keep)),
      config_(std::move(subject.config)),
      batch_(subject.batch),
      unit_(subject.data.unit()),
      start_(std::move(start)),
      progress_(console_, options.log_every) {
  settings_.rules.emplace_back(keep_option, fmt::format("{}", keep_));
  if (start_.continues()) {
    require_free_links(options.out);
  } else {
    begin();
  }
  if (!start_.lock().note().empty()) console_.print("{}\n", start_.lock().note());
}

void Run::begin() {
  const fs::path out = options_.out;
  const auto require_room = [&] {
    if (!start_.may_start_over() || !checkpoints_of(out).empty()) require_new_run(out);
    require_free_links(out);
  };
  if (fs::exists(out / "lock")) start_.lock();  // that another process trains there says more than that there is a run
  require_room();
  make_run_directory(out);
  start_.lock();
  require_room();  // again: another process may have begun here in between
  metrics_ = std::make_unique<JsonLines>(metrics_path(), JsonLines::Mode::start_over);
}

fs::path Run::metrics_path() const { return fs::path(options_.out) / "metrics.jsonl"; }

void Run::resume(const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator,
                 Trainer& trainer) {
  if (!start_.point()) return;
  const ResumePoint& point = *start_.point();
  const ResumedCheckpoint saved = resume_checkpoint(point.checkpoint, settings_, parameters, optimizer, accumulator);
  trainer.restore(saved.trainer,
                  start_.continues() ? Trainer::CheckpointOf::this_run : Trainer::CheckpointOf::another_run);
  std::string lost;
  if (start_.continues()) {
    saved_progress_ = describe_progress(accumulator);
    // Before what they may point at gets another name. And where the run was killed between the end of its last
    // checkpoint and what comes after it.
    point_links(options_.out, point.checkpoint.filename().string());
    set_aside(point);
    if (!options_.keep) keep_as_before(saved.settings);
    if (keep_ > 0) prune_checkpoints(options_.out, keep_);
    lost = cut_log(accumulator.next_window() - (saved.trainer.unlogged ? 1 : 0));
    metrics_ = std::make_unique<JsonLines>(metrics_path(), JsonLines::Mode::append);
  }
  for (const std::string& note : point.notes) console_.print("{}\n", note);
  if (!lost.empty()) console_.warn("warning: {}\n", lost);
  const bool all_done = accumulator.counters().update >= options_.steps && !saved.trainer.unlogged;
  console_.print("Resuming {} at {}{}\n", start_.continues() ? options_.out : point.checkpoint.string(),
                 describe_progress(accumulator),
                 all_done ? ", so that nothing is left to do; more --steps go on from there" : "");
  for (const std::string& line : changed_rules(saved.settings, settings_)) console_.print("{}\n", line);
  if (saved.window_starts_again)
    console_.print("the window that was begun starts again, as the rules of its sums have changed\n");
}

// Ends the log with what the checkpoint knows of. Returns what it does not have of that: what the disk had refused, and
// a kill has taken from memory.
std::string Run::cut_log(std::int64_t windows) const {
  const std::int64_t last = truncate_after(metrics_path(), windows);
  if (last == windows - 1) return {};
  if (last < 0) return fmt::format("{} is missing or has no line of what was trained", metrics_path().string());
  return fmt::format("{} ends with window {}, but the checkpoint has {} windows: the lines between are lost",
                     metrics_path().string(), last, windows);
}

// A run that keeps more than usual must not lose that because the option was left out once.
void Run::keep_as_before(const RunSettings& saved) {
  std::string& now = settings_.rules.back().second;
  const std::string before = rule_of(saved, keep_option);
  if (std::from_chars(before.data(), before.data() + before.size(), keep_).ec == std::errc()) now = before;
}

// "update 3 of 10, after 8 samples of window 3".
std::string Run::describe_progress(const Accumulator& accumulator) const {
  const std::string updates = fmt::format("update {} of {}", accumulator.counters().update, options_.steps);
  if (!accumulator.window_open()) return updates;
  return fmt::format("{}, after {} of window {}", updates, plural(accumulator.samples_in_window(), "sample"),
                     accumulator.next_window());
}

void Run::announce(const std::string& model) {
  console_.print("{}\ndevice: {}\nbatch: {}\n", model, describe_machine(options_.machine), batch_.to_string());
  const std::string windows = describe_windows(settings_.dataset_size, batch_, partial_window(options_));
  if (!windows.empty()) console_.print("{}\n", windows);
}

// An error that ends a run says what is left of it.
TrainingEnd Run::run_to_its_end(Trainer& trainer) {
  try {
    return trainer.run();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::internal || saved_progress_.empty()) throw;
    throw Error(error.kind(), fmt::format("{}; {}", error.what(), newest_checkpoint()));
  }
}

std::string Run::newest_checkpoint() const {
  return saved_progress_.empty() ? "there is no checkpoint yet" : "the newest checkpoint is that of " + saved_progress_;
}

void Run::train(Trainer& trainer, const ParameterStore& parameters, optim::Optimizer& optimizer,
                const Accumulator& accumulator) {
  std::error_code unknown;
  const fs::space_info disk = fs::space(options_.out, unknown);
  // One more than is kept while it is saved, but for those that are there already.
  const std::int64_t there = std::ssize(checkpoints_of(options_.out)),
                     missing =
                         std::max<std::int64_t>(keep_ > 0 ? std::min<std::int64_t>(keep_, 1000) + 1 - there : 2, 1);
  const std::string shortage = unknown ? "" : describe_space(disk.available, parameters.parameter_count(), missing);
  if (!shortage.empty()) console_.warn("warning: {}\n", shortage);
  const StopSignals signals;
  trainer.on_window = [&](const WindowRecord& record) { log(record); };
  trainer.on_overflow = [&](const WindowReport& report) {
    progress_.finish();
    console_.print("{}\n", describe_overflow(report));
  };
  trainer.on_save = [&] {
    const TrainerState state = trainer.state();
    save({.settings = settings_,
          .config = config_,
          .parameters = parameters,
          .optimizer = optimizer,
          .accumulator = accumulator,
          .trainer = state});
    saved_progress_ = describe_progress(accumulator);
  };
  trainer.on_save_failed = [&](const std::string& reason) {
    progress_.finish();
    // Not of what comes from the device: this may be called because that does not answer any more.
    console_.warn("warning: no checkpoint could be saved: {}; {}, and the next is tried when it is due\n", reason,
                  newest_checkpoint());
  };
  trainer.stop_requested = [&] { return signals.requested(); };
  trainer.must_stop_at_once = [&] { return signals.seconds_since_request() > patience_after_signal; };
  const std::unique_ptr<WindowProfiler> profiler = options_.profile ? make_profiler(parameters) : nullptr;
  trainer.profiler = profiler.get();
  const TrainingEnd end = run_to_its_end(trainer);
  trainer.profiler = nullptr;
  progress_.finish();
  metrics_->make_durable();  // now or never
  if (profiler && !profiler->done())
    console_.print("--profile: no window ran to its end, so that there is nothing to show; it takes more --steps\n");
  if (end == TrainingEnd::stopped)
    fail(ErrorKind::stopped, "stopped by {} at {}, which is saved; the same command with --resume goes on",
         signals.signal_name(), saved_progress_);
  console_.print("checkpoint {}\nmetrics    {}\n", (fs::path(options_.out) / "latest").string(),
                 metrics_path().string());
}

// The peaks are measured before the training, whose memory and speed they would disturb.
std::unique_ptr<WindowProfiler> Run::make_profiler(const ParameterStore& parameters) {
  const Device device = parameters.master().device();
  auto profiler = std::make_unique<WindowProfiler>(device);
  profiler->on_profile = [this, peaks = measure_peaks(device, parameters.compute_dtype())](
                             const WindowProfile& profile) { show_profile(profile, peaks); };
  return profiler;
}

void Run::show_profile(const WindowProfile& profile, const MachinePeaks& peaks) {
  const std::string device = describe_machine(options_.machine);
  const fs::path trace = fs::path(options_.out) / "profile.json";
  progress_.finish();
  console_.print("\n{}", profile_table(profile, peaks, device));
  try {
    write_text_atomically(trace, profile_trace(profile, peaks, device));
    console_.print("timeline   {} (chrome://tracing and ui.perfetto.dev open it)\n\n", trace.string());
  } catch (const Error& error) {
    console_.warn("warning: the timeline of --profile could not be written: {}\n", error.what());
  }
}

// Says once that the log cannot be written, and once that it is again.
void Run::watch_log() {
  const bool is_late = !metrics_->trouble().empty();
  if (is_late == std::exchange(log_is_late_, is_late)) return;
  progress_.finish();
  if (is_late)
    console_.warn("warning: {}; training goes on, and its lines wait in memory\n", metrics_->trouble());
  else
    console_.warn("{} can be written again; it has every line\n", metrics_path().string());
}

void Run::log(const WindowRecord& record) {
  const WindowReport& report = record.report;
  metrics_->write(metrics_object(record, unit_));
  watch_log();
  // Smoothed, so that one slow window does not make the estimate jump. The first one, which pays for fresh pages and
  // oneDNN's code generation, is forgotten.
  const double keep = windows_logged_ < 2 ? 0 : 0.95;
  window_seconds_ = keep * window_seconds_ + (1 - keep) * record.report.seconds;
  ++windows_logged_;
  progress_.show({.update = report.update,
                  .total = options_.steps,
                  .loss = report.loss,
                  .grad_norm = report.grad_norm,
                  .rate = record.positions_per_second,
                  .unit = unit_,
                  .remaining_seconds = window_seconds_ * static_cast<double>(options_.steps - report.update),
                  .peak_bytes = record.peak_bytes,
                  .validation_loss = record.validation_loss});
}

void Run::save(const CheckpointContent& content) {
  // The log first: a checkpoint should not know of windows that a power cut takes from the log. A log that the disk
  // refuses must not cost the weights: its lines wait for the next time.
  try {
    metrics_->make_durable();
  } catch (const Error& error) {
    if (metrics_->trouble().empty()) console_.warn("warning: {}\n", error.what());
  }
  watch_log();
  const std::string left_behind = save_checkpoint(options_.out, content, keep_);
  if (!left_behind.empty()) console_.warn("warning: {}\n", left_behind);
}

}  // namespace accrue::train
