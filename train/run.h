// What a training run shows and leaves behind: progress, metrics.jsonl, checkpoints.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/json_lines.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace accrue::train {

class Run {
 public:
  // Makes or reopens options.out. Throws Error(usage) if it holds a run already and options.resume is not set.
  Run(const TrainingOptions& options, const std::string& program, nlohmann::json config, const Dataset& data,
      const BatchPlan& batch);

  void resume(const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator);
  // Says what is about to be trained and how its batches are made up.
  void announce(const std::string& model);
  void log(const WindowRecord& record);
  void save(const ParameterStore& parameters, optim::Optimizer& optimizer, const Accumulator& accumulator);
  // Says where the files are.
  void finish();

 private:
  TrainingOptions options_;
  RunSettings settings_;
  nlohmann::json config_;
  BatchPlan batch_;
  std::string unit_;  // "tokens" or "samples"
  std::unique_ptr<JsonLines> metrics_;
  Progress progress_;
  double window_seconds_ = 0;
};

}  // namespace accrue::train
