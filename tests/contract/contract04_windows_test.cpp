// Contract 4-7: where windows end, what is counted, and how a batch is made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "train/batch_plan.h"

namespace accrue::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using train::Outcome;
using train::PartialWindow;
using Gpt = Training<nn::Gpt>;
using Mlp = Training<nn::Mlp>;

train::TrainerOptions trainer_options(std::int64_t micro, std::int64_t accumulation, std::int64_t steps,
                                      PartialWindow partial) {
  return {.batch = {.micro = micro, .accumulation = accumulation, .global = micro * accumulation, .last_micro = micro},
          .steps = steps,
          .order = train::DataOrder::sequential,
          .partial = partial};
}

// One micro-batch whose inputs are so large that its weight gradients overflow while its loss stays finite.
Samples poisoned_samples(std::int64_t samples, std::int64_t width, std::int64_t classes, Device device) {
  Samples poisoned = class_samples(samples, width, classes, 3, device);
  const std::vector<float> huge(static_cast<std::size_t>(samples * width), std::numeric_limits<float>::infinity());
  poisoned.inputs.copy_from_host(std::span<const float>(huge));
  return poisoned;
}

TEST(Contract04, ClosingAPartialWindowDividesByItsTrueTargets) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), {8, 3, 5}, 1, device);
    Gpt closed{nn::Gpt(small_gpt()), device, {.accumulation = 4}},
        planned{nn::Gpt(small_gpt()), device, {.accumulation = 3}};
    for (std::int64_t s = 0; s < 3; ++s) EXPECT_FALSE(closed.micro_batch(samples.part(s, 1)).has_value());
    const auto report = closed.accumulator.close_window();
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->targets, 16);
    EXPECT_EQ(report->micro_batches, 3);
    planned.window(samples, {1, 1, 1});
    // The last window of an epoch is not under-scaled by the micro-batches that never came: same bits as a window of
    // three.
    EXPECT_EQ(closed.bits(), planned.bits());
    EXPECT_FALSE(closed.accumulator.close_window().has_value());
  }
}

TEST(Contract04, DroppingAnOpenWindowKeepsEveryBitAndCountsTheSamples) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(5), 2, device);
    Gpt training{nn::Gpt(small_gpt()), device, {.accumulation = 3}},
        fresh{nn::Gpt(small_gpt()), device, {.accumulation = 3}};
    const TrainingBits before = training.bits();
    training.micro_batch(samples.part(0, 2));
    training.micro_batch(samples.part(2, 3));
    EXPECT_EQ(training.accumulator.drop_window(), 5);
    EXPECT_EQ(training.bits(), before);
    EXPECT_FALSE(training.accumulator.window_open());
    // Nothing of the dropped micro-batches is left: neither gradient nor loss nor targets.
    const auto after_drop = training.window(samples, {2, 2, 1}), undisturbed = fresh.window(samples, {2, 2, 1});
    EXPECT_EQ(after_drop.targets, undisturbed.targets);
    EXPECT_EQ(after_drop.loss, undisturbed.loss);
    EXPECT_EQ(training.bits(), fresh.bits());
  }
}

TEST(Contract04, StepEndsEveryEpochWithAShortWindowOfItsOwn) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(7, 8), 3, device));
    TrainerRun run(data, trainer_options(2, 2, 4, PartialWindow::step), small_gpt(), device);
    run.run();
    std::vector<std::int64_t> samples, targets, micro_batches;
    for (const auto& record : run.records) {
      samples.push_back(record.report.samples);
      targets.push_back(record.report.targets);
      micro_batches.push_back(record.report.micro_batches);
    }
    EXPECT_THAT(samples, ElementsAre(4, 3, 4, 3));
    EXPECT_THAT(targets, ElementsAre(32, 24, 32, 24));
    EXPECT_THAT(micro_batches, ElementsAre(2, 2, 2, 2));  // the short window is 2 + 1 samples
    EXPECT_THAT(data.shown, ElementsAre(0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6));
  }
}

TEST(Contract04, DropLeavesTheTailOutAndCarryRunsIntoTheNextEpoch) {
  for (const Device device : devices()) {
    const MemoryDataset dropped(gpt_samples(small_gpt(), unequal_counts(7), 3, device));
    TrainerRun drop(dropped, trainer_options(2, 2, 2, PartialWindow::drop), small_gpt(), device);
    drop.run();
    EXPECT_THAT(dropped.shown, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
    for (const auto& record : drop.records) EXPECT_EQ(record.dropped_per_epoch, 3);  // reported

    const MemoryDataset carried(gpt_samples(small_gpt(), unequal_counts(7), 3, device));
    TrainerRun carry(carried, trainer_options(2, 2, 3, PartialWindow::carry), small_gpt(), device);
    carry.run();
    EXPECT_THAT(carried.shown, ElementsAre(0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4));
    EXPECT_EQ(carry.records[1].report.samples, 4);
    EXPECT_EQ(carry.records[1].dropped_per_epoch, 0);
  }
}

TEST(Contract04, AWindowLargerThanTheEpochStepsWithTheEpochOrWraps) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), {8, 2, 4}, 4, device));
    TrainerRun step(data, trainer_options(2, 8, 2, PartialWindow::step), small_gpt(), device);
    step.run();
    EXPECT_EQ(step.records[0].report.targets, 14);
    EXPECT_EQ(step.records[0].report.micro_batches, 2);
    EXPECT_EQ(step.records[1].report.samples, 3);
    TrainerRun carry(data, trainer_options(2, 4, 1, PartialWindow::carry), small_gpt(), device);
    carry.run();
    EXPECT_EQ(carry.records[0].report.samples, 8);
    EXPECT_EQ(carry.records[0].report.targets, 2 * 14 + 8 + 2);
  }
}

TEST(Contract05, SkippedAndEmptyWindowsAdvanceNeitherScheduleNorBiasCorrection) {
  for (const Device device : devices()) {
    // A schedule that changes at every update: any window counted wrongly moves the learning rate.
    const train::AccumulatorOptions options{
        .schedule = {.kind = kernels::ScheduleKind::cosine, .peak = 1e-2, .warmup = 2, .total = 6}};
    Mlp plain{nn::Mlp({5, 8, 3}), device, options}, disturbed{nn::Mlp({5, 8, 3}), device, options};
    Samples masked = class_samples(4, 5, 3, 50, device);
    const std::vector<std::int32_t> none(4, -1);
    masked.targets.copy_from_host(std::span<const std::int32_t>(none));
    const Samples poisoned = poisoned_samples(4, 5, 3, device);

    for (std::uint64_t window = 0; window < 5; ++window) {
      const Samples samples = class_samples(4, 5, 3, 100 + window, device);
      EXPECT_EQ(disturbed.window(masked).outcome, Outcome::empty);
      EXPECT_EQ(disturbed.window(poisoned, {2, 2}).outcome, Outcome::skipped);
      const auto with = disturbed.window(samples, {2, 2}), without = plain.window(samples, {2, 2});
      EXPECT_EQ(with.outcome, Outcome::updated);
      EXPECT_EQ(with.learning_rate, without.learning_rate);
      EXPECT_EQ(with.update, without.update);
      EXPECT_EQ(disturbed.bits(), plain.bits()) << "after update " << with.update;
    }
    const train::Counters counters = disturbed.accumulator.counters();
    EXPECT_EQ(counters.update, 5);
    EXPECT_EQ(counters.skipped, 5);
    EXPECT_EQ(counters.empty, 5);
    EXPECT_EQ(counters.window, 15);
    EXPECT_EQ(counters.micro, 5 * 5);
  }
}

TEST(Contract05, TheLearningRateIsThatOfTheUpdateAndNotOfTheMicroBatch) {
  for (const Device device : devices()) {
    Mlp training{nn::Mlp({5, 3}), device, {.accumulation = 4, .schedule = {.peak = 1.0, .warmup = 4}}};
    std::vector<double> rates;
    for (int micro = 0; micro < 16; ++micro) {
      if (const auto report = training.micro_batch(class_samples(2, 5, 3, static_cast<std::uint64_t>(micro), device)))
        rates.push_back(report->learning_rate);
    }
    EXPECT_THAT(rates, ElementsAre(0.25, 0.5, 0.75, 1.0));
  }
}

TEST(Contract05, StepsCountUpdatesOnly) {
  for (const Device device : devices()) {
    // Windows of two samples; every second window of an epoch has no target at all.
    const MemoryDataset data(gpt_samples(small_gpt(), {8, 1, 0, 0, 3, 3, 0, 0}, 5, device));
    TrainerRun run(data, trainer_options(1, 2, 3, PartialWindow::step), small_gpt(), device);
    run.run();
    EXPECT_EQ(run.training.accumulator.counters().update, 3);
    EXPECT_EQ(run.training.accumulator.counters().empty, 2);
    EXPECT_EQ(run.training.accumulator.counters().window, 5);
  }
}

RC_GTEST_PROP(Contract05, WindowsAreUpdatesSkippedAndEmptyOnes, ()) {
  const Device device = Device::cpu();
  Mlp training{nn::Mlp({3, 2}), device, {.patience = 1000}};
  std::int64_t micro = 0;
  const auto kinds = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 3));
  for (const int kind : kinds) {
    Samples samples = kind == 1 ? poisoned_samples(4, 3, 2, device) : class_samples(4, 3, 2, 9, device);
    if (kind == 2) {
      const std::vector<std::int32_t> none(4, -1);
      samples.targets.copy_from_host(std::span<const std::int32_t>(none));
    }
    const auto cut = cut_evenly(4, *rc::gen::inRange<std::int64_t>(1, 5));
    micro += std::ssize(cut);
    const Outcome outcome = training.window(samples, cut).outcome;
    RC_ASSERT(outcome == (kind == 0 ? Outcome::updated : kind == 1 ? Outcome::skipped : Outcome::empty));
  }
  const train::Counters counters = training.accumulator.counters();
  RC_ASSERT(counters.micro == micro);
  RC_ASSERT(counters.window == std::ssize(kinds));
  RC_ASSERT(counters.window == counters.update + counters.skipped + counters.empty);
  RC_ASSERT(counters.skipped == std::count(kinds.begin(), kinds.end(), 1));
}

TEST(Contract06, WeightsLogAndCountersMoveAtTheBoundaryAndNowhereElse) {
  for (const Device device : devices()) {
    Gpt training{nn::Gpt(small_gpt()), device, {.accumulation = 3}};
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(10), 6, device);
    for (std::int64_t micro = 0; micro < 10; ++micro) {
      const TrainingBits before = training.bits();
      const int steps = training.recorder.steps;
      const auto report = training.micro_batch(samples.part(micro, 1));
      const bool boundary = micro % 3 == 2;
      EXPECT_EQ(report.has_value(), boundary);
      EXPECT_EQ(training.bits() != before, boundary);
      EXPECT_EQ(training.recorder.steps, steps + (boundary ? 1 : 0));
      EXPECT_EQ(training.accumulator.window_open(), !boundary);
      EXPECT_EQ(training.accumulator.counters().micro, micro + 1);
      EXPECT_EQ(training.accumulator.counters().window, (micro + 1) / 3);
    }
  }
}

TEST(Contract06, OpenWindowMovesTheBoundaryOfOneWindow) {
  for (const Device device : devices()) {
    Mlp training{nn::Mlp({3, 2}), device, {.accumulation = 2}};
    const Samples samples = class_samples(1, 3, 2, 7, device);
    training.accumulator.open_window(3);
    std::vector<std::int64_t> sizes;
    for (int micro = 0; micro < 7; ++micro)
      if (const auto report = training.micro_batch(samples)) sizes.push_back(report->micro_batches);
    EXPECT_THAT(sizes, ElementsAre(3, 2, 2));
    training.micro_batch(samples);
    EXPECT_THAT(error_message([&] { training.accumulator.open_window(3); }),
                HasSubstr("open_window() inside a window"));
  }
}

TEST(Contract06, ImpossibleAccumulatorOptionsAreUsageErrors) {
  const auto message = [](const train::AccumulatorOptions& options) {
    return error_message([&] { Mlp training(nn::Mlp({3, 2}), Device::cpu(), options); }, ErrorKind::usage);
  };
  EXPECT_THAT(message({.accumulation = 0}), HasSubstr("at least 1 micro-batch a window, but is 0"));
  EXPECT_THAT(message({.max_norm = -1}), HasSubstr("clipping norm"));
  EXPECT_THAT(message({.max_norm = std::numeric_limits<double>::quiet_NaN()}), HasSubstr("clipping norm"));
  EXPECT_THAT(message({.patience = 0}), HasSubstr("patience"));
}

TEST(Contract07, TheBatchMultipliesOutOrTheErrorNamesTheNearestChoices) {
  const train::BatchPlan plan = train::plan_batch({.micro = 4, .global = 24, .world = 2});
  EXPECT_EQ(plan.micro * plan.accumulation * plan.world, plan.global);
  EXPECT_EQ(plan.accumulation, 3);
  const std::string message = error_message([] { train::plan_batch({.micro = 8, .global = 20}); }, ErrorKind::usage);
  EXPECT_THAT(message, HasSubstr("16"));
  EXPECT_THAT(message, HasSubstr("24"));
  // Never an accumulation rounded down to nothing.
  error_message([] { train::plan_batch({.micro = 8, .global = 4}); }, ErrorKind::usage);
}

TEST(Contract07, ARaggedLastMicroBatchGivesTheUpdateOfTheWholeBatch) {
  for (const Device device : devices()) {
    const train::BatchPlan plan = train::plan_batch({.micro = 3, .global = 8, .ragged = true});
    EXPECT_EQ(plan.last_micro, 2);
    const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(8), 8, device));
    train::TrainerOptions options = trainer_options(8, 1, 1, PartialWindow::step);
    TrainerRun whole(data, options, small_gpt(), device);
    whole.run();
    options.batch = plan;
    TrainerRun ragged(data, options, small_gpt(), device);
    ragged.run();
    EXPECT_EQ(ragged.records[0].report.micro_batches, 3);
    EXPECT_EQ(ragged.records[0].report.targets, whole.records[0].report.targets);
    EXPECT_LE(relative_error(ragged.training.gradient(), whole.training.gradient()), 1e-6);  // contract 12's bound
  }
}

}  // namespace
}  // namespace accrue::testing
