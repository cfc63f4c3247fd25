#include "train/run.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

std::string to_string(PartialWindow partial) {
  return partial == PartialWindow::step ? "step" : partial == PartialWindow::drop ? "drop" : "carry";
}

nlohmann::json metrics_object(const WindowRecord& record, const std::string& unit) {
  const WindowReport& report = record.report;
  nlohmann::json object{{"update", report.update},
                        {"loss", json_number(report.loss)},
                        {"grad_norm", json_number(report.grad_norm)},
                        {"learning_rate", report.learning_rate},
                        {unit + "_per_second", json_number(record.positions_per_second)},
                        {"micro_batch", record.micro_batch},
                        {"accumulation", report.micro_batches},
                        {"targets", report.targets},
                        {"peak_bytes", record.peak_bytes}};
  if (record.validation_loss) object["validation_loss"] = json_number(*record.validation_loss);
  if (report.outcome == Outcome::skipped) object["outcome"] = "skipped: the gradient is not finite";
  if (report.outcome == Outcome::empty) object["outcome"] = "empty: the window has no target";
  return object;
}

}  // namespace

Run::Run(const TrainingOptions& options, const std::string& program, nlohmann::json config, const Dataset& data,
         const BatchPlan& batch)
    : options_(options),
      settings_{.program = program,
                .seed = options.seed,
                .global_batch = batch.global,
                .data_order = options.data_order,
                .partial_window = to_string(trainer_options(options, batch).partial),
                .dataset_size = data.size()},
      config_(std::move(config)),
      batch_(batch),
      unit_(data.unit()),
      progress_(stdout, options.log_every) {
  const fs::path out = options.out;
  std::error_code error;
  if (!options.resume && fs::exists(out / "latest", error))
    fail(ErrorKind::usage, "--out {} already holds a run; continue it with --resume, or choose another directory",
         out.string());
  make_run_directory(out);
  if (!options.resume) metrics_ = std::make_unique<JsonLines>(out / "metrics.jsonl", JsonLines::Mode::start_over);
}

void Run::resume(const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator) {
  const fs::path out = options_.out;
  resume_checkpoint(find_checkpoint(out), settings_, parameters, optimizer, accumulator);
  truncate_after(out / "metrics.jsonl", accumulator.counters().update);
  metrics_ = std::make_unique<JsonLines>(out / "metrics.jsonl", JsonLines::Mode::append);
  fmt::print("Resuming {} at update {} of {}\n", out.string(), accumulator.counters().update, options_.steps);
}

void Run::announce(const std::string& model) {
  fmt::print("{}\nbatch: {}\n", model, batch_.to_string());
  std::fflush(stdout);
}

void Run::log(const WindowRecord& record) {
  const WindowReport& report = record.report;
  metrics_->write(metrics_object(record, unit_));
  if (report.outcome == Outcome::skipped) {
    progress_.finish();
    fmt::print("window {} skipped: its gradient is not finite; the weights stay those of update {}\n", report.window,
               report.update);
  }
  // Smoothed, so that one slow window does not make the estimate jump.
  window_seconds_ = window_seconds_ == 0 ? record.seconds : 0.95 * window_seconds_ + 0.05 * record.seconds;
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

void Run::save(const ParameterStore& parameters, optim::Optimizer& optimizer, const Accumulator& accumulator) {
  save_checkpoint(options_.out, settings_, config_, parameters, optimizer, accumulator);
}

void Run::finish() {
  progress_.finish();
  const fs::path out = options_.out;
  fmt::print("checkpoint {}\nmetrics    {}\n", (out / "latest").string(), (out / "metrics.jsonl").string());
}

}  // namespace accrue::train
