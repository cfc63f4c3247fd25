#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TrainerOptions options(std::int64_t micro, std::int64_t accumulation, std::int64_t steps) {
  return {.batch = {.micro = micro, .accumulation = accumulation, .global = micro * accumulation, .last_micro = micro},
          .steps = steps};
}

TEST(Trainer, RunsUntilItsUpdatesAreDoneAndSavesAtTheEnd) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1));
  TrainerRun run(data, options(2, 2, 5), small_gpt(), Device::cpu());
  std::vector<std::int64_t> saved_at;
  run.trainer.on_save = [&] { saved_at.push_back(run.training.accumulator.counters().update); };
  run.run();
  ASSERT_EQ(run.records.size(), 5u);
  EXPECT_EQ(run.training.accumulator.counters().micro, 10);
  EXPECT_THAT(saved_at, ElementsAre(5));
}

TEST(Trainer, ZeroStepsTrainNothingAndStillSave) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8}, 1));
  TrainerRun run(data, options(1, 1, 0), small_gpt(), Device::cpu());
  int saves = 0;
  run.trainer.on_save = [&] { ++saves; };
  const TrainingBits before = run.training.bits();
  run.run();
  EXPECT_TRUE(run.records.empty());
  EXPECT_EQ(run.training.bits(), before);
  EXPECT_EQ(saves, 1);
}

TEST(Trainer, SavesEveryNthUpdateAndTheLastOneOnce) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  for (const auto& [steps, expected] :
       std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>>{{5, {2, 4, 5}}, {4, {2, 4}}}) {
    TrainerOptions o = options(2, 1, steps);
    o.save_every = 2;
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    std::vector<std::int64_t> saved_at;
    run.trainer.on_save = [&] { saved_at.push_back(run.training.accumulator.counters().update); };
    run.run();
    EXPECT_EQ(saved_at, expected);
  }
}

TEST(Trainer, SavesOncePerUpdateAlsoWhenEmptyWindowsFollow) {
  // Sequential windows of one sample: with targets, without, with, without, ...
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 0}, 1));
  TrainerOptions o = options(1, 1, 4);
  o.order = DataOrder::sequential;
  o.save_every = 1;
  TrainerRun run(data, o, small_gpt(), Device::cpu());
  std::vector<std::int64_t> saved_at;
  run.trainer.on_save = [&] { saved_at.push_back(run.training.accumulator.counters().update); };
  run.run();
  EXPECT_THAT(saved_at, ElementsAre(1, 2, 3, 4));
}

TEST(Trainer, EvaluatesEveryNthUpdateAndAtTheLast) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  const MemoryDataset validation(gpt_samples(small_gpt(), std::vector<std::int64_t>(3, 8), 2));
  TrainerOptions o = options(2, 1, 5);
  o.evaluate_every = 2;
  TrainerRun run(data, o, small_gpt(), Device::cpu(), {}, &validation);
  run.run();
  std::vector<bool> evaluated;
  for (const WindowRecord& record : run.records) evaluated.push_back(record.validation_loss.has_value());
  EXPECT_THAT(evaluated, ElementsAre(false, true, false, true, true));
  const auto loss = [&](Tape& tape, const Batch& b) { return run.training.model.loss(tape, b.inputs, b.targets); };
  EXPECT_EQ(*run.records.back().validation_loss, evaluate(loss, validation, 2, Device::cpu()).loss);
}

TEST(Trainer, EvaluatesAtTheLastUpdateAloneUnlessAskedForMore) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8}, 1)), validation(gpt_samples(small_gpt(), {8}, 2));
  TrainerRun run(data, options(1, 1, 3), small_gpt(), Device::cpu(), {}, &validation);
  run.run();
  EXPECT_THAT(validation.shown, ElementsAre(0));
  EXPECT_TRUE(run.records.back().validation_loss.has_value());
}

TEST(Trainer, ShowsEverySampleOnceAnEpoch) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(7, 8), 1));
  TrainerOptions o = options(2, 2, 4);  // windows of 4 and 3, twice
  o.seed = 3;
  TrainerRun run(data, o, small_gpt(), Device::cpu());
  run.run();
  ASSERT_EQ(data.shown.size(), 14u);
  std::vector<std::int64_t> first(data.shown.begin(), data.shown.begin() + 7),
      second(data.shown.begin() + 7, data.shown.end());
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_THAT(first, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(second, first);
}

TEST(Trainer, ReportsSpeedInPositionsAndThePeakOfItsMemory) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 1));
  TrainerRun run(data, options(2, 2, 1), small_gpt(), Device::cpu());
  run.run();
  const WindowRecord& record = run.records.front();
  EXPECT_GT(record.report.seconds, 0);
  // Four samples of eight positions; the quotient is rounded once.
  EXPECT_NEAR(record.positions_per_second * record.report.seconds, 32, 32 * 4 * 0x1p-53);
  EXPECT_EQ(record.micro_batch, 2);
  EXPECT_GE(record.peak_bytes, 4 * run.training.parameters.master().bytes());  // weights, gradients, m, v
}

TEST(Trainer, TheLossFallsOnATextItHasSeenOften) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 1));
  TrainerRun run(data, options(1, 4, 60), small_gpt(), Device::cpu(), {.schedule = {.peak = 1e-2}, .max_norm = 1.0});
  run.run();
  EXPECT_NEAR(run.records.front().report.loss, std::log(29.0), 0.1);
  EXPECT_LT(run.records.back().report.loss, 0.5);
}

TEST(Trainer, ADataSetWithoutAnyTargetIsBadData) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(6, 0), 1));
  TrainerRun run(data, options(2, 1, 1), small_gpt(), Device::cpu());
  EXPECT_THAT(error_message([&] { run.run(); }, ErrorKind::bad_data), HasSubstr("every target is masked"));
}

TEST(Trainer, StopsAfterTheWindowInWhichItIsAskedToAndSaves) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  for (const std::int64_t save_every : {0, 3}) {  // without a checkpoint of its own at the stop, and with one
    TrainerOptions o = options(2, 1, 5);
    o.save_every = save_every;
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    std::vector<std::int64_t> saved_at;
    run.trainer.on_save = [&] { saved_at.push_back(run.training.accumulator.counters().update); };
    run.trainer.stop_requested = [&] { return run.records.size() == 3; };
    EXPECT_EQ(run.trainer.run(), TrainingEnd::stopped);
    EXPECT_EQ(run.records.size(), 3u);
    EXPECT_THAT(saved_at, ElementsAre(3));
  }
}

TEST(Trainer, IsFinishedWhenAskedToStopAfterTheLastWindow) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8}, 1));
  TrainerRun run(data, options(1, 1, 2), small_gpt(), Device::cpu());
  run.trainer.stop_requested = [&] { return run.records.size() == 2; };
  EXPECT_EQ(run.trainer.run(), TrainingEnd::finished);
}

TEST(Trainer, SavesTheIntactWeightsBeforeItGivesUpOnADivergedRun) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  TrainerRun run(data, options(2, 1, 50), small_gpt(), Device::cpu(), {.schedule = {.peak = 1e30f}, .patience = 3});
  std::vector<Counters> saved;
  run.trainer.on_save = [&] { saved.push_back(run.training.accumulator.counters()); };
  error_message([&] { run.run(); }, ErrorKind::numeric);
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_GE(saved[0].skipped, 3);
  // Each of its windows was logged, the one that ended it too.
  EXPECT_EQ(std::ssize(run.records), saved[0].window);
  EXPECT_EQ(run.records.back().report.outcome, Outcome::skipped);
  EXPECT_EQ(saved[0].window, saved[0].update + saved[0].skipped + saved[0].empty);  // contract 5
}

TEST(Trainer, NegativeStepsAreAUsageError) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8}, 1));
  EXPECT_THAT(
      error_message([&] { TrainerRun run(data, options(1, 1, -1), small_gpt(), Device::cpu()); }, ErrorKind::usage),
      HasSubstr("--steps must not be negative, but is -1"));
}

}  // namespace
}  // namespace accrue::train
