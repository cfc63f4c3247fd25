// Options of the MLP program.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/mlp.h"
#include "train/cli.h"
#include "train/dataset.h"
#include "train/mlp_config.h"
#include "train/run_directory.h"

namespace accrue::train {

struct MlpTrainOptions {
  MlpTrainOptions();  // the recipe for Fashion-MNIST
  TrainingOptions run;
  std::string data;
  std::vector<std::int64_t> hidden = {512, 512};
  std::int64_t epochs = 5;
  std::optional<float> dropout;
};

struct MlpEvalOptions {
  std::string checkpoint, data;
  std::int64_t micro_batch = 500;
  MachineOptions machine;
  bool json = false;
};

CLI::App* add_mlp_train(CLI::App& app, MlpTrainOptions& options);
CLI::App* add_mlp_eval(CLI::App& app, MlpEvalOptions& options);

// The options' model for these images; when resuming, the checkpoint's. Throws Error(bad_data) if they contradict each
// other.
MlpConfig mlp_config(const MlpTrainOptions& options, const LabelledImages& images,
                     const std::optional<ResumePoint>& resume);

// Updates that make the given number of epochs.
std::int64_t updates_of_epochs(std::int64_t epochs, std::int64_t dataset_size, const BatchPlan& batch,
                               PartialWindow partial);

}  // namespace accrue::train
