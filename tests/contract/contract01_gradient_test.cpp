// Contract 1-3: what a window's gradient is, when it is divided, and what no targets mean.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/loss_terms.h"
#include "optim/sgd.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::testing {
namespace {

using train::Normalisation;
using train::Outcome;
using Gpt = Training<nn::Gpt>;

// The gradient of each sample's summed loss on its own, unnormalised.
std::vector<std::vector<double>> sums_by_sample(const nn::GptConfig& config, const Samples& samples, Device device) {
  std::vector<std::vector<double>> sums;
  for (std::int64_t s = 0; s < samples.count(); ++s) {
    Gpt training{nn::Gpt(config), device};
    training.window(samples.part(s, 1));
    sums.push_back(training.recorder.last_sums);
  }
  return sums;
}

std::vector<double> weighted_sum(const std::vector<std::vector<double>>& vectors, const std::vector<double>& weights) {
  std::vector<double> total(vectors.front().size());
  for (std::size_t v = 0; v < vectors.size(); ++v)
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += weights[v] * vectors[v][i];
  return total;
}

// The failure that Hugging Face's trainer had until 2024: micro-batches with 1, 7 and 3 targets, each averaged by
// itself.
TEST(Contract01, GradientIsTheSumOverTheWindowDividedByItsTargetsAndNoMeanOfMeans) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {1, 7, 3}, 5, device);
    const auto sums = sums_by_sample(small_gpt(), samples, device);
    const auto by_targets = weighted_sum(sums, {1.0 / 11, 1.0 / 11, 1.0 / 11});
    const auto mean_of_means = weighted_sum(sums, {1.0 / 3, 1.0 / (7 * 3), 1.0 / (3 * 3)});

    Gpt training{nn::Gpt(small_gpt()), device};
    const auto report = training.window(samples, {1, 1, 1});
    EXPECT_EQ(report.targets, 11);
    // The same three micro-gradients, here added in double: the buffer has rounded two additions.
    EXPECT_LE(relative_error(training.gradient(), by_targets), 4 * u);
    // Were the two rules close on this window, the line above would show nothing.
    EXPECT_GT(relative_error(mean_of_means, by_targets), 0.1);
  }
}

TEST(Contract01, NothingElseDividesTheUpdate) {
  // One step of plain gradient descent with rate 1 subtracts exactly what the contract calls G: no further 1/K, 1/B or
  // 1/T.
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {8, 2, 8, 5}, 6, device);
    const train::AccumulatorOptions options{.schedule = {.peak = 1.0}};
    Training<nn::Gpt, optim::Sgd> training(nn::Gpt(small_gpt()), device, options, optim::SgdOptions{});
    std::vector<double> before, after;
    for (const Parameter& p : training.parameters.parameters())
      for (const double value : to_doubles(p.master())) before.push_back(value);
    training.window(samples, {1, 2, 1});
    for (const Parameter& p : training.parameters.parameters())
      for (const double value : to_doubles(p.master())) after.push_back(value);
    const std::vector<double> gradient = training.gradient();
    std::vector<double> expected(before.size()), bounds(before.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
      expected[i] = before[i] - gradient[i];
      // Rounded: the factor 1/W, its product with the sum, the difference.
      bounds[i] = 3 * u * std::abs(gradient[i]) + u * (std::abs(expected[i]) + u * std::abs(gradient[i]));
    }
    EXPECT_TRUE(within(after, expected, bounds));
  }
}

TEST(Contract02, TheBufferHoldsSumsUntilTheBoundaryDividesOnce) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {4, 4, 4, 4}, 7, device);
    Gpt training{nn::Gpt(small_gpt()), device};
    training.window(samples, {2, 2});
    EXPECT_EQ(training.recorder.last_state.target_count, 16);
    EXPECT_EQ(training.recorder.last_state.factor, 1.0f / 16.0f);
    // The boundary reports the norm of the divided gradient while the buffer is of the undivided one.
    double squares = 0;
    for (const double sum : training.recorder.last_sums) squares += sum * sum;
    EXPECT_NEAR(training.recorder.last_state.grad_norm, std::sqrt(squares) / 16, 2 * u * std::sqrt(squares) / 16);
  }
}

TEST(Contract02, TheTargetsOfLaterMicroBatchesNeedNotBeKnown) {
  // W counts what arrived, whether or not anybody announced it: the same window with a masked tail divides by less.
  for (const Device device : devices()) {
    Gpt training{nn::Gpt(small_gpt()), device, {.accumulation = 3}};
    const Samples samples = gpt_samples(small_gpt(), {8, 1, 0}, 8, device);
    EXPECT_FALSE(training.micro_batch(samples.part(0, 1)).has_value());
    EXPECT_FALSE(training.micro_batch(samples.part(1, 1)).has_value());
    const auto report = training.micro_batch(samples.part(2, 1));
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->targets, 9);
  }
}

TEST(Contract02, MeanOverMicroBatchesEqualsTheDefaultOnlyForEqualTargetCounts) {
  for (const Device device : devices()) {
    const auto update_direction = [&](const std::vector<std::int64_t>& counts, Normalisation normalisation) {
      Gpt training{nn::Gpt(small_gpt()), device, {.normalisation = normalisation}};
      training.window(gpt_samples(small_gpt(), counts, 9, device), {1, 1, 1});
      std::vector<double> direction = training.recorder.last_sums;
      for (double& value : direction) value *= training.recorder.last_state.factor;
      return direction;
    };
    // Equal counts: the divisions by n_m and by K round differently from the one by W, a few times each.
    EXPECT_LE(relative_error(update_direction({4, 4, 4}, Normalisation::mean_over_micro_batches),
                             update_direction({4, 4, 4}, Normalisation::targets)),
              0x1p-20);
    EXPECT_GT(relative_error(update_direction({1, 7, 3}, Normalisation::mean_over_micro_batches),
                             update_direction({1, 7, 3}, Normalisation::targets)),
              0.1);
  }
}

TEST(Contract02, MeanOverMicroBatchesDividesByTheMicroBatchesThatArrived) {
  // Mean of micro-means, by hand: each sample's own sum by its own count, then by three.
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {1, 7, 3}, 10, device);
    const auto sums = sums_by_sample(small_gpt(), samples, device);
    const auto expected = weighted_sum(sums, {1.0 / 3, 1.0 / (7 * 3), 1.0 / (3 * 3)});
    Gpt training{
        nn::Gpt(small_gpt()), device, {.accumulation = 5, .normalisation = Normalisation::mean_over_micro_batches}};
    for (std::int64_t s = 0; s < 3; ++s) training.micro_batch(samples.part(s, 1));
    ASSERT_TRUE(training.accumulator.close_window().has_value());
    std::vector<double> actual = training.recorder.last_sums;
    for (double& value : actual) value *= training.recorder.last_state.factor;
    // The mean is taken at the logits: a rounding there runs through the whole backward pass, about 30 operations deep.
    EXPECT_LE(relative_error(actual, expected), 64 * u);
  }
}

TEST(Contract03, AFullyMaskedMicroBatchContributesExactlyZero) {
  for (const Device device : devices()) {
    const Samples some = gpt_samples(small_gpt(), {8, 3}, 11, device);
    const Samples none = gpt_samples(small_gpt(), {0, 0}, 12, device);
    Gpt with{nn::Gpt(small_gpt()), device, {.accumulation = 3}},
        without{nn::Gpt(small_gpt()), device, {.accumulation = 1}};
    with.micro_batch(none);  // first: its zeros overwrite
    with.micro_batch(some);
    const auto report = with.micro_batch(none);  // last: its zeros are added
    const auto expected = without.micro_batch(some);
    ASSERT_TRUE(report && expected);
    EXPECT_EQ(report->targets, expected->targets);
    EXPECT_EQ(report->loss, expected->loss);
    EXPECT_EQ(with.recorder.last_sums, without.recorder.last_sums);
    EXPECT_EQ(with.bits(), without.bits());
  }
}

TEST(Contract03, AWindowWithoutTargetsIsEmptyAndChangesNoBit) {
  for (const Device device : devices()) {
    Gpt training{nn::Gpt(small_gpt()), device, {.schedule = {.peak = 1e-3, .warmup = 10}}};
    training.window(gpt_samples(small_gpt(), {8, 8}, 13, device));
    const TrainingBits before = training.bits();
    const auto report = training.window(gpt_samples(small_gpt(), {0, 0, 0}, 14, device), {1, 2});
    EXPECT_EQ(report.outcome, Outcome::empty);
    EXPECT_EQ(report.targets, 0);
    EXPECT_EQ(report.update, 1);
    EXPECT_EQ(report.samples, 3);
    EXPECT_TRUE(std::isnan(report.loss));  // 0/0: there is no mean of nothing
    EXPECT_EQ(report.grad_norm, 0);
    EXPECT_EQ(training.bits(), before);
    EXPECT_EQ(training.accumulator.counters().empty, 1);
  }
}

TEST(Contract03, AnEmptyWindowUnderTheMeanOfMeansIsEmptyToo) {
  for (const Device device : devices()) {
    Gpt training{nn::Gpt(small_gpt()), device, {.normalisation = Normalisation::mean_over_micro_batches}};
    const TrainingBits before = training.bits();
    EXPECT_EQ(training.window(gpt_samples(small_gpt(), {0, 0}, 15, device), {1, 1}).outcome, Outcome::empty);
    EXPECT_EQ(training.bits(), before);
  }
}

}  // namespace
}  // namespace accrue::testing
