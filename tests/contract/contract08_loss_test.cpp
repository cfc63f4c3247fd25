// Contract 8: the loss that is logged.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"

namespace accrue::testing {
namespace {

using Gpt = Training<nn::Gpt>;

TEST(Contract08, TheLoggedLossIsTheSameForAnySplit) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(12), 1, device);
    Gpt whole{nn::Gpt(small_gpt()), device};
    const auto expected = whole.window(samples);
    for (const std::vector<std::int64_t>& cut :
         std::vector<std::vector<std::int64_t>>{{6, 6}, {4, 4, 4}, {1, 11}, {5, 5, 2}, cut_evenly(12, 1)}) {
      Gpt split{nn::Gpt(small_gpt()), device};
      const auto report = split.window(samples, cut);
      EXPECT_EQ(report.targets, expected.targets);
      EXPECT_NEAR(report.loss, expected.loss, expected.loss * logged_loss_bound(device, expected.targets))
          << cut.size() << " parts";
    }
  }
}

RC_GTEST_PROP(Contract08, TheLoggedLossIsTheSameForAnyRaggedSplit, ()) {
  const auto count = *rc::gen::inRange<std::int64_t>(1, 40);
  const std::vector<std::int64_t> widths = {*rc::gen::inRange<std::int64_t>(1, 40),
                                            *rc::gen::inRange<std::int64_t>(1, 40),
                                            *rc::gen::inRange<std::int64_t>(1, 40)};
  const Samples samples =
      class_samples(count, widths.front(), widths.back(), *rc::gen::inRange<std::uint64_t>(0, 1000));
  std::vector<std::int64_t> cut;
  for (std::int64_t left = count; left > 0; left -= cut.back())
    cut.push_back(*rc::gen::inRange<std::int64_t>(1, left + 1));
  Training<nn::Mlp> whole{nn::Mlp(widths)}, split{nn::Mlp(widths)};
  const auto expected = whole.window(samples), report = split.window(samples, cut);
  RC_ASSERT(report.targets == expected.targets);
  RC_ASSERT(std::abs(report.loss - expected.loss) <=
            expected.loss * logged_loss_bound(Device::cpu(), expected.targets));
}

TEST(Contract08, TheLoggedLossIsTheSumOverTheWindowByItsTargetsUnderEitherNormalisation) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {1, 7, 3}, 2, device);
    Gpt default_rule{nn::Gpt(small_gpt()), device};
    Gpt tutorials{nn::Gpt(small_gpt()), device, {.normalisation = train::Normalisation::mean_over_micro_batches}};
    EXPECT_EQ(default_rule.window(samples, {1, 1, 1}).loss, tutorials.window(samples, {1, 1, 1}).loss);
  }
}

TEST(Contract08, TheLoggedLossIsNeitherMultipliedNorDividedByTheAccumulation) {
  for (const Device device : devices()) {
    // At initialisation the logits are near zero: every target costs about ln(vocabulary), however the window is cut.
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(8), 3, device);
    for (const std::int64_t micro : {8, 4, 1}) {
      Gpt training{nn::Gpt(small_gpt()), device};
      EXPECT_NEAR(training.window(samples, cut_evenly(8, micro)).loss, std::log(29.0), 0.1);
    }
  }
}

TEST(Contract08, ALossThatIsNotFiniteIsShownAsItIs) {
  for (const Device device : devices()) {
    Training<nn::Mlp> training{nn::Mlp({3, 2}), device};
    Samples samples = class_samples(2, 3, 2, 4, device);
    std::vector<float> inputs = samples.inputs.to_vector<float>();
    inputs[0] = std::numeric_limits<float>::quiet_NaN();
    samples.inputs.copy_from_host(std::span<const float>(inputs));
    const auto report = training.window(samples, {1, 1});
    EXPECT_TRUE(std::isnan(report.loss));
    EXPECT_EQ(report.outcome, train::Outcome::skipped);
  }
}

TEST(Contract08, TheValidationLossIsTheSumByTheTargetsForAnyMicroBatch) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(9), 5, device);
    const MemoryDataset data(samples);
    Gpt training{nn::Gpt(small_gpt()), device};
    const auto loss = [&](Tape& tape, const train::Batch& b) { return training.model.loss(tape, b.inputs, b.targets); };
    const train::Evaluation whole = train::evaluate(loss, data, 9, device);
    for (const std::int64_t micro : {1, 2, 4}) {
      const train::Evaluation split = train::evaluate(loss, data, micro, device);
      EXPECT_EQ(split.targets, whole.targets);
      EXPECT_NEAR(split.loss, whole.loss, whole.loss * logged_loss_bound(device, whole.targets));
    }
    // Without dropout, training and evaluation show the same loss.
    EXPECT_NEAR(training.window(samples).loss, whole.loss, whole.loss * logged_loss_bound(device, whole.targets));
  }
}

}  // namespace
}  // namespace accrue::testing
