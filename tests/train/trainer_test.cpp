#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

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
    o.save_every.updates = 2;
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
  o.save_every.updates = 1;
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

// The weights at the end of runs that all see the same samples.
TrainingBits bits_of_whole_run(const Dataset& data, const TrainerOptions& o,
                               const AccumulatorOptions& accumulator = {}) {
  TrainerRun run(data, o, small_gpt(), Device::cpu(), accumulator);
  run.run();
  return run.training.bits();
}

TEST(Trainer, StopsAfterTheMicroBatchInWhichItIsAskedToAndSaves) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1));
  const TrainerOptions o = options(2, 3, 4);
  const TrainingBits whole = bits_of_whole_run(data, o);
  for (std::size_t after = 1; after < 12; ++after) {
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    int saves = 0;
    run.trainer.on_save = [&] { ++saves; };
    run.trainer.stop_requested = [&] { return run.keys.size() == after; };
    EXPECT_EQ(run.trainer.run(), TrainingEnd::stopped);
    EXPECT_EQ(run.keys.size(), after);
    EXPECT_EQ(saves, 1);
    EXPECT_EQ(run.training.accumulator.window_open(), after % 3 != 0);
    EXPECT_EQ(run.records.size(), after / 3);
    run.trainer.stop_requested = nullptr;
    EXPECT_EQ(run.trainer.run(), TrainingEnd::finished);  // goes on inside the window
    EXPECT_EQ(run.training.bits(), whole) << "stopped after " << after << " micro-batches";
    EXPECT_EQ(run.records.size(), 4u);
  }
}

TEST(Trainer, AMicroBatchThatMustNotBeWaitedForLeavesNoTrace) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1));
  const TrainerOptions o = options(2, 3, 4);
  const TrainingBits whole = bits_of_whole_run(data, o);
  std::int64_t in_the_middle = 0, at_its_beginning = 0;
  for (std::int64_t polls = 1;; polls += 7) {
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    std::int64_t asked = 0;
    run.trainer.must_stop_at_once = [&] { return ++asked >= polls; };
    if (run.trainer.run() == TrainingEnd::finished) break;
    const Accumulator::State state = run.training.accumulator.state();
    ++(state.micro_in_window > 0 ? in_the_middle : at_its_beginning);
    EXPECT_EQ(state.micro % 3, state.micro_in_window);
    EXPECT_EQ(state.samples_in_window, 2 * state.micro_in_window);
    run.trainer.must_stop_at_once = nullptr;
    EXPECT_EQ(run.trainer.run(), TrainingEnd::finished);
    EXPECT_EQ(run.training.bits(), whole) << "interrupted at operation " << polls;
    EXPECT_EQ(run.records.size(), 4u);
  }
  EXPECT_GT(in_the_middle, 0);     // in a forward pass
  EXPECT_GT(at_its_beginning, 0);  // in a backward pass
}

TEST(Trainer, AnEvaluationThatMustNotBeWaitedForIsMadeUpForInTheNextRun) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  const MemoryDataset validation(gpt_samples(small_gpt(), std::vector<std::int64_t>(6, 8), 2));
  TrainerOptions o = options(2, 1, 3);
  o.evaluate_every = 1;
  TrainerRun whole(data, o, small_gpt(), Device::cpu(), {}, &validation);
  whole.run();
  for (const std::int64_t update : {1, 3}) {  // the last one, too
    TrainerRun run(data, o, small_gpt(), Device::cpu(), {}, &validation);
    const std::int64_t shown = 6 * (update - 1) + 3;  // in the middle of this update's evaluation
    run.trainer.must_stop_at_once = [&] { return std::ssize(validation.shown) >= shown; };
    validation.shown.clear();
    EXPECT_EQ(run.trainer.run(), TrainingEnd::stopped);
    EXPECT_EQ(std::ssize(run.records), update - 1);
    ASSERT_TRUE(run.trainer.state().unlogged.has_value());
    EXPECT_EQ(run.trainer.state().unlogged->update, update);
    run.trainer.must_stop_at_once = nullptr;
    std::optional<WindowReport> unlogged = run.trainer.state().unlogged;
    run.trainer.on_save = [&] { unlogged = run.trainer.state().unlogged; };
    EXPECT_EQ(run.trainer.run(), TrainingEnd::finished);
    ASSERT_EQ(run.records.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(run.records[i].validation_loss, whole.records[i].validation_loss);
    EXPECT_FALSE(unlogged.has_value()) << "the checkpoint at the end still asks for the evaluation";
  }
}

// A micro-batch that is rolled back to the window's beginning must not bury what was saved inside the window.
TEST(Trainer, AStateBehindItsCheckpointIsNotSaved) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1));
  TrainerOptions o = options(2, 3, 3);
  o.save_every.seconds = 1e-9;  // after every micro-batch
  std::int64_t behind = 0;
  for (std::int64_t polls = 1;; polls += 11) {
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    const auto position = [&] {
      const Accumulator::State state = run.training.accumulator.state();
      return std::pair(state.window, state.samples_in_window);
    };
    std::vector<std::pair<std::int64_t, std::int64_t>> saved;
    run.trainer.on_save = [&] { saved.push_back(position()); };
    std::int64_t asked = 0;
    run.trainer.must_stop_at_once = [&] { return ++asked >= polls; };
    const TrainingEnd end = run.trainer.run();
    EXPECT_EQ(std::adjacent_find(saved.begin(), saved.end(), std::greater_equal<>()), saved.end());
    if (end == TrainingEnd::finished) break;
    if (!saved.empty() && position() < saved.back()) ++behind;
  }
  EXPECT_GT(behind, 0);
}

// The checkpoint that a run begins with lies in another directory: it needs one of its own, even where nothing is left
// to do.
TEST(Trainer, ARunThatBeginsWithACheckpointOfAnotherSavesItsOwn) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8}, 1));
  for (const auto from : {Trainer::CheckpointOf::this_run, Trainer::CheckpointOf::another_run}) {
    TrainerRun run(data, options(1, 1, 2), small_gpt(), Device::cpu());
    run.run();
    int saves = 0;
    Trainer next(
        run.training.accumulator, [](Tape&, const Batch&) { return nn::Loss(); }, data, nullptr, options(1, 1, 2),
        Device::cpu());
    next.on_save = [&] { ++saves; };
    next.restore({}, from);
    EXPECT_EQ(next.run(), TrainingEnd::finished);
    EXPECT_EQ(saves, from == Trainer::CheckpointOf::another_run ? 1 : 0);
  }
}

TEST(Trainer, ASaveThatFailsOnTheWayIsToldAndTriedAgain) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  TrainerOptions o = options(2, 1, 5);
  o.save_every.updates = 2;
  for (const ErrorKind kind : {ErrorKind::io, ErrorKind::cannot_create, ErrorKind::memory}) {
    TrainerRun run(data, o, small_gpt(), Device::cpu());
    std::vector<std::int64_t> saved_at;
    std::vector<std::string> failures;
    run.trainer.on_save = [&] {
      const std::int64_t update = run.training.accumulator.counters().update;
      if (update == 2) fail(kind, "the disk is full");
      saved_at.push_back(update);
    };
    run.trainer.on_save_failed = [&](const std::string& reason) { failures.push_back(reason); };
    EXPECT_EQ(run.trainer.run(), TrainingEnd::finished);
    EXPECT_THAT(saved_at, ElementsAre(4, 5));
    EXPECT_THAT(failures, ElementsAre("the disk is full"));
  }
}

TEST(Trainer, TheLastSaveMustSucceed) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8}, 1));
  TrainerRun run(data, options(1, 1, 2), small_gpt(), Device::cpu());
  run.trainer.on_save = [&] { fail(ErrorKind::io, "the disk is full"); };
  EXPECT_THAT(error_message([&] { run.run(); }, ErrorKind::io), HasSubstr("the disk is full"));
}

TEST(Trainer, SavesByTheClockInsideAWindow) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  TrainerOptions o = options(2, 4, 2);
  o.save_every.seconds = 1e-9;  // due at every micro-batch
  TrainerRun run(data, o, small_gpt(), Device::cpu());
  std::vector<std::int64_t> saved_at;
  run.trainer.on_save = [&] { saved_at.push_back(run.training.accumulator.state().micro); };
  run.run();
  EXPECT_THAT(saved_at, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(run.training.bits(), bits_of_whole_run(data, options(2, 4, 2)));
}

class FailingDataset final : public Dataset {
 public:
  explicit FailingDataset(const MemoryDataset& data) : data_(data) {}
  std::int64_t size() const override { return data_.size(); }
  std::int64_t positions_per_sample() const override { return data_.positions_per_sample(); }
  Batch batch(std::span<const std::int64_t> indices, Device device) const override {
    if (++asked == fails_at) fail(ErrorKind::bad_data, "the file has shrunk");
    return data_.batch(indices, device);
  }
  mutable std::int64_t asked = 0, fails_at = 0;

 private:
  const MemoryDataset& data_;
};

// What is done is saved before an error of the data ends the run; the window that met it has left no trace.
TEST(Trainer, SavesWhatItHasBeforeAnErrorOfTheData) {
  const MemoryDataset whole_data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1));
  const TrainingBits whole = bits_of_whole_run(whole_data, options(2, 3, 4));
  for (const std::int64_t fails_at : {1, 2, 3, 4, 5, 12}) {
    FailingDataset data(whole_data);
    data.fails_at = fails_at;
    TrainerRun run(data, options(2, 3, 4), small_gpt(), Device::cpu());
    int saves = 0;
    run.trainer.on_save = [&] { ++saves; };
    EXPECT_THAT(error_message([&] { run.run(); }, ErrorKind::bad_data), HasSubstr("the file has shrunk"));
    EXPECT_EQ(saves, fails_at == 1 ? 0 : 1);  // nothing is saved of nothing
    run.run();
    EXPECT_EQ(run.training.bits(), whole) << "failed at batch " << fails_at;
  }
}

TEST(Trainer, SavesWhatItHasBeforeAnErrorOfTheValidationDataAndEvaluatesInTheNextRun) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1, device));
    const MemoryDataset whole_validation(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 2, device));
    TrainerOptions o = options(2, 1, 3);
    o.evaluate_every = 2;
    TrainerRun whole(data, o, small_gpt(), device, {}, &whole_validation);
    whole.run();
    FailingDataset validation(whole_validation);
    validation.fails_at = 2;  // in the evaluation of update 2
    TrainerRun run(data, o, small_gpt(), device, {}, &validation);
    std::vector<std::int64_t> saved_at;
    run.trainer.on_save = [&] {
      saved_at.push_back(run.training.accumulator.counters().update);
      ASSERT_TRUE(run.trainer.state().unlogged.has_value() || saved_at.size() > 1);
    };
    EXPECT_THAT(error_message([&] { run.run(); }, ErrorKind::bad_data), HasSubstr("the file has shrunk"));
    EXPECT_THAT(saved_at, ElementsAre(2));
    run.run();
    EXPECT_THAT(saved_at, ElementsAre(2, 3));
    EXPECT_EQ(run.training.bits(), whole.training.bits());
    ASSERT_EQ(run.records.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(run.records[i].validation_loss, whole.records[i].validation_loss);
  }
}

TEST(Trainer, StopsAfterTheWindowInWhichItIsAskedToAndSaves) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  for (const std::int64_t save_every : {0, 3}) {  // without a checkpoint of its own at the stop, and with one
    TrainerOptions o = options(2, 1, 5);
    o.save_every.updates = save_every;
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

TEST(Trainer, ADivergedRunSaysSoAlsoWhereItCannotSave) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 1));
  TrainerRun run(data, options(1, 1, 100), small_gpt(), Device::cpu(), {.schedule = {.peak = 1e30f}, .patience = 3});
  std::vector<std::string> failures;
  run.trainer.on_save = [] { fail(ErrorKind::io, "the disk is full"); };
  run.trainer.on_save_failed = [&](const std::string& reason) { failures.push_back(reason); };
  EXPECT_THAT(error_message([&] { run.run(); }, ErrorKind::numeric), HasSubstr("not finite"));
  EXPECT_THAT(failures, ElementsAre("the disk is full"));
}

TEST(Trainer, AnOpenWindowOfMoreSamplesThanThereAreIsBadData) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8, 8, 8}, 1));
  TrainerRun run(data, options(1, 2, 3), small_gpt(), Device::cpu());
  Accumulator::State state = run.training.accumulator.state();
  state.micro = state.micro_in_window = 1;
  state.samples_in_window = 2;
  run.training.accumulator.restore(state);
  EXPECT_THAT(error_message([&] { run.trainer.restore({}); }, ErrorKind::bad_data),
              HasSubstr("2 samples of window 0, which has no more than 2"));
}

TEST(Trainer, NegativeStepsAreAUsageError) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8}, 1));
  EXPECT_THAT(
      error_message([&] { TrainerRun run(data, options(1, 1, -1), small_gpt(), Device::cpu()); }, ErrorKind::usage),
      HasSubstr("--steps must not be negative, but is -1"));
}

}  // namespace
}  // namespace accrue::train
