// What a training run shows and leaves behind: progress, metrics.jsonl, checkpoints.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/console.h"
#include "train/data_identity.h"
#include "train/json_lines.h"
#include "train/progress.h"
#include "train/run_start.h"
#include "train/trainer.h"
#include "train/window_profiler.h"

namespace accrue::train {

// What is trained, and on what.
struct RunSubject {
  std::string program;    // "gpt"
  nlohmann::json config;  // describes the model
  const Dataset& data;
  DataIdentity identity;  // of the whole training data
  BatchPlan batch;
  float dropout = 0;
};

class Run {
 public:
  // Makes or reopens options.out and keeps other processes out of it. Throws Error(usage) if it holds a run already
  // that is not the one to continue, Error(cannot_create) if another process trains there or a file of the user's is in
  // the way.
  Run(const TrainingOptions& options, RunSubject subject, RunStart start);

  // Puts back what the checkpoint has, where the run begins with one, and says so.
  void resume(const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator,
              Trainer& trainer);
  // Says what is about to be trained and how its batches are made up.
  void announce(const std::string& model);
  // Runs the trainer with a log, checkpoints, a profile where one is wanted, and a reaction to Ctrl-C and SIGTERM; then
  // says where the files are.
  // Throws Error(stopped) when a signal ended it early.
  void train(Trainer& trainer, const ParameterStore& parameters, optim::Optimizer& optimizer,
             const Accumulator& accumulator);
  // For what else there is to say.
  Console& console() { return console_; }

 private:
  void begin();
  std::string cut_log(std::int64_t windows) const;
  void keep_as_before(const RunSettings& saved);
  TrainingEnd run_to_its_end(Trainer& trainer);
  std::string newest_checkpoint() const;
  std::string describe_progress(const Accumulator& accumulator) const;
  std::unique_ptr<WindowProfiler> make_profiler(const ParameterStore& parameters);
  void show_profile(const WindowProfile& profile, const MachinePeaks& peaks);
  void log(const WindowRecord& record);
  void watch_log();
  void save(const CheckpointContent& content);
  std::filesystem::path metrics_path() const;

  TrainingOptions options_;
  RunSettings settings_;
  std::int64_t keep_;  // checkpoints; 0: all
  nlohmann::json config_;
  BatchPlan batch_;
  std::string unit_;  // "tokens" or "samples"
  RunStart start_;
  std::unique_ptr<JsonLines> metrics_;
  bool log_is_late_ = false;
  std::string saved_progress_;  // of the newest checkpoint
  Console console_;
  Progress progress_;
  double window_seconds_ = 0;  // for the estimate of what remains
  std::int64_t windows_logged_ = 0;
};

// "window 7 skipped: the gradient of wte.weight is not finite from micro-batch 2 of 4 on, at loss scale 65536; the
// weights stay those of update 7, the loss scale falls to 32768".
std::string describe_overflow(const WindowReport& report);
// That the disk has too little space for so many checkpoints; empty where it has enough.
std::string describe_space(std::uintmax_t available, std::int64_t parameters, std::int64_t checkpoints);
// How the windows of a data set differ from what the batch alone says; empty where they do not. "windows: 3 an epoch of
// 40 samples; the last holds 8".
std::string describe_windows(std::int64_t dataset_size, const BatchPlan& batch, PartialWindow partial);

}  // namespace accrue::train
