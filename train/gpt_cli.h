// Options of the GPT program, and what they mean: which model, which data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/gpt.h"
#include "train/cli.h"
#include "train/dataset.h"
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

CLI::App* add_gpt_train(CLI::App& app, GptTrainOptions& options);
CLI::App* add_gpt_eval(CLI::App& app, GptEvalOptions& options);
CLI::App* add_gpt_sample(CLI::App& app, GptSampleOptions& options);
CLI::App* add_gpt_verify(CLI::App& app, GptVerifyOptions& options);
CLI::App* add_plot(CLI::App& app, std::string& metrics);

// The model that the options name, 4 layers, 4 heads, width 128, context 64, 256 tokens by default; checked.
nn::GptConfig gpt_config(const GptModelOptions& options);

// The model to train (of the checkpoint when resuming, of the weights file where one is given) and its data.
struct GptData {
  nn::GptConfig model;
  TextDataset train;
  std::optional<TextDataset> validation;
  const Dataset* validation_or_null() const { return validation ? &*validation : nullptr; }
};
GptData make_gpt_data(const TokenFile& text, const GptTrainOptions& options);

// A model with the weights of a source.
class LoadedGpt {
 public:
  LoadedGpt(const GptSource& source, const Machine& machine);
  const nn::Gpt& model() const { return *model_; }

 private:
  std::unique_ptr<nn::Gpt> model_;
  ParameterStore parameters_;
};

// The samples that `gpt verify` runs over: a text file's, or without one random tokens.
class VerifySamples final : public Dataset {
 public:
  VerifySamples(const std::string& text, std::int64_t samples, const nn::GptConfig& model, std::uint64_t seed);
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
