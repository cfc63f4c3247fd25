// Contract 27, and what accumulation is for: memory that depends on the micro-batch and on nothing else.
#include <gtest/gtest.h>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"

namespace accrue::testing {
namespace {

std::size_t peak_of_evaluation(const Training<nn::Gpt>& training, std::int64_t samples, std::int64_t micro,
                               Device device) {
  const MemoryDataset data(
      gpt_samples(training.model.config(), std::vector<std::int64_t>(static_cast<std::size_t>(samples), 8), 1, device));
  const auto loss = [&](Tape& tape, const train::Batch& b) { return training.model.loss(tape, b.inputs, b.targets); };
  Allocator& allocator = Allocator::of(device);
  allocator.reset_peak();
  const std::size_t before = allocator.stats().total.live;  // the data set itself lies in memory in this test
  train::evaluate(loss, data, micro, device);
  return allocator.stats().total.peak - before;
}

TEST(Contract27, EvaluationNeedsTheSameMemoryForAnySizeOfTheDataSet) {
  for (const Device device : devices()) {
    const Training<nn::Gpt> training{nn::Gpt(small_gpt()), device};
    const std::size_t small = peak_of_evaluation(training, 4, 4, device);
    EXPECT_EQ(peak_of_evaluation(training, 64, 4, device), small);
    EXPECT_EQ(peak_of_evaluation(training, 67, 4, device), small);  // a last, smaller batch
    EXPECT_LT(small, peak_of_evaluation(training, 64, 64, device));
  }
}

TEST(Contract27, EvaluationKeepsNoActivationForABackwardPass) {
  for (const Device device : devices()) {
    const Training<nn::Gpt> shallow{nn::Gpt(small_gpt()), device};
    nn::GptConfig config = small_gpt();
    config.layers = 8;
    const Training<nn::Gpt> deep{nn::Gpt(config), device};
    EXPECT_EQ(peak_of_evaluation(deep, 8, 4, device), peak_of_evaluation(shallow, 8, 4, device));
  }
}

TEST(Contract27, EvaluationLeavesTheTrainingAsItIs) {
  for (const Device device : devices()) {
    Training<nn::Gpt> training{nn::Gpt(small_gpt(0.5f)), device};
    const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(8), 2, device));
    const auto loss = [&](Tape& tape, const train::Batch& b) { return training.model.loss(tape, b.inputs, b.targets); };
    const TrainingBits before = training.bits();
    const train::Evaluation first = train::evaluate(loss, data, 3, device);
    EXPECT_EQ(first.targets, 26);
    EXPECT_EQ(train::evaluate(loss, data, 3, device).loss, first.loss);  // no dropout
    EXPECT_EQ(training.bits(), before);
  }
}

struct Peaks {
  std::size_t total, activations, gradients;
  friend bool operator==(const Peaks&, const Peaks&) = default;
};

Peaks peaks_of_training(std::int64_t micro, std::int64_t accumulation, Device device) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(64, 8), 3, device));
  const train::TrainerOptions options{
      .batch = {.micro = micro, .accumulation = accumulation, .global = micro * accumulation, .last_micro = micro},
      .steps = 2};
  TrainerRun run(data, options, small_gpt(0.1f), device);
  run.run();  // resets the peak when it begins
  const MemoryStats stats = Allocator::of(device).stats();
  return {.total = stats.total.peak,
          .activations = stats[Category::activations].peak,
          .gradients = stats[Category::gradients].peak};
}

TEST(Contract27, TrainingNeedsTheSameMemoryForAnyAccumulation) {
  for (const Device device : devices()) {
    const Peaks two = peaks_of_training(2, 2, device);
    for (const std::int64_t accumulation : {3, 4, 8, 16}) {
      const Peaks more = peaks_of_training(2, accumulation, device);
      EXPECT_EQ(more.total, two.total) << "K = " << accumulation;
      EXPECT_EQ(more.activations, two.activations) << "K = " << accumulation;
      EXPECT_EQ(more.gradients, two.gradients) << "K = " << accumulation;
    }
    // Against a micro-batch that holds the window at once, it is the activations that are saved.
    EXPECT_LT(4 * two.activations, peaks_of_training(32, 1, device).activations);
  }
}

}  // namespace
}  // namespace accrue::testing
