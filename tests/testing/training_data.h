// Data sets and runs of the trainer for tests: what was shown, in which order, with which random numbers.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tests/testing/training.h"
#include "train/dataset.h"
#include "train/trainer.h"

namespace accrue::testing {

// Samples in memory; remembers the indices that were asked for.
class MemoryDataset final : public train::Dataset {
 public:
  explicit MemoryDataset(Samples samples) : samples_(std::move(samples)) {}

  std::int64_t size() const override { return samples_.count(); }
  std::int64_t positions_per_sample() const override { return samples_.targets.numel() / size(); }
  train::Batch batch(std::span<const std::int64_t> indices, Device) const override {
    shown.insert(shown.end(), indices.begin(), indices.end());
    return {.inputs = gather(samples_.inputs, indices), .targets = gather(samples_.targets, indices)};
  }

  mutable std::vector<std::int64_t> shown;

 private:
  static Tensor gather(const Tensor& source, std::span<const std::int64_t> indices) {
    std::vector<std::int64_t> extents(source.shape().extents().begin(), source.shape().extents().end());
    const std::int64_t each = source.numel() / extents[0];
    extents[0] = std::ssize(indices);
    const Tensor gathered = Tensor::empty(Shape(extents), source.dtype(), source.device(), Category::data);
    for (std::int64_t i = 0; i < extents[0]; ++i)
      gathered.view({each}, i * each).copy_from(source.view({each}, indices[static_cast<std::size_t>(i)] * each));
    return gathered;
  }

  Samples samples_;
};

// A training of the small GPT under the trainer, with everything it reported.
struct TrainerRun {
  TrainerRun(const train::Dataset& data, const train::TrainerOptions& options, const nn::GptConfig& config,
             Device device, const train::AccumulatorOptions& accumulator_options = {},
             const train::Dataset* validation = nullptr)
      : training(nn::Gpt(config), device, accumulator_options),
        trainer(
            training.accumulator,
            [this](Tape& tape, const train::Batch& batch) {
              if (tape.recording()) keys.push_back(tape.context().random);
              return training.model.loss(tape, batch.inputs, batch.targets);
            },
            data, validation, options, device) {
    trainer.on_window = [this](const train::WindowRecord& record) { records.push_back(record); };
  }

  void run() { trainer.run(); }

  Training<nn::Gpt> training;
  std::vector<RandomKey> keys;  // of every micro-batch
  std::vector<train::WindowRecord> records;
  train::Trainer trainer;
};

}  // namespace accrue::testing
