// Options of the GPT program, and what they mean: which model, which data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/gpt.h"
#include "train/audit.h"
#include "train/cli.h"
#include "train/dataset.h"
#include "train/run_directory.h"
#include "train/sample.h"
#include "train/verify.h"

namespace accrue::train {

// The model's shape as far as the user named it; a checkpoint or a weights file fills in the rest.
struct GptModelOptions {
  std::optional<std::int64_t> layers, width, context, vocabulary;
  std::optional<int> heads;
  std::optional<float> dropout;
  bool recompute = false;
};

struct GptTrainOptions {
  TrainingOptions run;
  GptModelOptions model;
  std::string text, weights;
  double validation_fraction = 0;
};

// Where a trained model comes from: a checkpoint (or run) directory, or a weights file and its number of heads.
struct GptSource {
  std::string checkpoint, weights;
  std::optional<int> heads;
};

struct GptEvalOptions {
  GptSource source;
  std::string text;
  std::int64_t micro_batch = 8;
  MachineOptions machine;
  bool json = false;
};

struct GptSampleOptions {
  GptSource source;
  std::string prompt;
  SamplingOptions sampling;
  MachineOptions machine;
};

struct GptVerifyOptions {
  GptModelOptions model;
  std::string text, splits = "1x8,2x4,4x2,8x1", normalisation = "targets";
  std::uint64_t seed = 0;
  bool equal_targets = false;
  MachineOptions machine;
};

// The model: of a checkpoint or a weights file where one is given, else new.
struct GptAuditOptions {
  GptModelOptions model;
  std::string checkpoint, weights, text, accumulations = "1,2,4,8,16,32,64,128,256,512";
  std::int64_t micro_batch = 1;
  std::uint64_t seed = 0;
  std::optional<float> loss_scale;
  bool equal_targets = false, json = false;
  MachineOptions machine;
};

CLI::App* add_gpt_train(CLI::App& app, GptTrainOptions& options);
CLI::App* add_gpt_eval(CLI::App& app, GptEvalOptions& options);
CLI::App* add_gpt_sample(CLI::App& app, GptSampleOptions& options);
CLI::App* add_gpt_verify(CLI::App& app, GptVerifyOptions& options);
CLI::App* add_gpt_audit(CLI::App& app, GptAuditOptions& options);
CLI::App* add_plot(CLI::App& app, std::string& metrics);

// The model that the options name, 4 layers, 4 heads, width 128, context 64, 256 tokens by default; checked.
nn::GptConfig gpt_config(const GptModelOptions& options);

// The model to train (of the checkpoint that the run begins with, or of the weights file where one is given) and its
// data.
struct GptData {
  nn::GptConfig model;
  TextDataset train;
  std::optional<TextDataset> validation;
  const Dataset* validation_or_null() const { return validation ? &*validation : nullptr; }
};
GptData make_gpt_data(const TokenFile& text, const GptTrainOptions& options, const std::optional<ResumePoint>& resume);

// A model with the weights of a source.
class LoadedGpt {
 public:
  LoadedGpt(const GptSource& source, const Machine& machine);
  const nn::Gpt& model() const { return *model_; }

 private:
  std::unique_ptr<nn::Gpt> model_;
  ParameterStore parameters_;
};

// What `gpt audit` compares with what: the model that the options name, its samples, and how they go through it.
class GptAudit {
 public:
  // Throws Error(usage) where options contradict each other or a file.
  GptAudit(const GptAuditOptions& options, const Machine& machine);

  const nn::GptConfig& model() const { return model_; }
  const Dataset& samples() const { return *samples_; }
  const AuditOptions& options() const { return options_; }
  // Gives a store such a model, with the file's weights or those of the seed.
  LossFunction make_model(ParameterStore& parameters, DType compute, DType accumulate) const;

 private:
  std::string checkpoint_, weights_;
  nn::GptConfig model_;
  std::unique_ptr<Dataset> samples_;
  AuditOptions options_;
};

// The samples that `gpt verify` and `gpt audit` run over: a text file's, or without one random tokens.
class TextOrRandomSamples final : public Dataset {
 public:
  TextOrRandomSamples(const std::string& text, std::int64_t samples, const nn::GptConfig& model, std::uint64_t seed);
  std::int64_t size() const override { return text_ ? text_->size() : samples_; }
  Batch batch(std::span<const std::int64_t> indices, Device device) const override;
  std::int64_t positions_per_sample() const override { return model_.context; }

 private:
  std::int64_t samples_;
  nn::GptConfig model_;
  std::uint64_t seed_;
  std::optional<TokenFile> file_;
  std::optional<TextDataset> text_;
};

// Prints the table; throws Error(numeric) if a split is beyond contract 12.
void print_verification(const std::vector<SplitDifference>& differences);

}  // namespace accrue::train
