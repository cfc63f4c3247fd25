// What the trainer does when windows overflow, with reports that come at once or a window late.
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nn/mlp.h"
#include "tests/testing/poison.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "train/trainer.h"

namespace accrue::train::trainer_overflow_test {
namespace {

using namespace accrue::testing;
using kernels::OnOverflow;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Script {
  // Whether a window's micro-batch overflows at this scale.
  std::function<bool(std::int64_t window, std::int64_t micro, float scale)> overflows;
};

AccumulatorOptions scaled(Reports reports, OnOverflow on_overflow = OnOverflow::skip, float first = 0x1p16f) {
  return {.schedule = {.peak = 1e-2},
          .max_norm = 1,
          .scaling = {.dynamic = true, .interval = 4},
          .loss_scale = first,
          .on_overflow = on_overflow,
          .reports = reports};
}

TrainerOptions windows_of_four(std::int64_t steps, std::int64_t micro = 2) {
  return {.batch = {.micro = micro, .accumulation = 4 / micro, .global = 4, .last_micro = micro},
          .steps = steps,
          .seed = 3};
}

// A classifier with dropout in training, whose gradient of `parameter` overflows where the script says so.
class OverflowingRun {
 public:
  OverflowingRun(Device device, const AccumulatorOptions& options, const TrainerOptions& plan, Script script)
      : training(Poisoned(nn::Mlp({4, 6, 3}, 0.2f)), device, options),
        data(class_samples(22, 4, 3, 1, device)),
        validation(class_samples(5, 4, 3, 2, device)),
        trainer(
            training.accumulator,
            [this](Tape& tape, const Batch& batch) {
              return nn::cross_entropy(tape, training.model.forward(tape, batch.inputs), batch.targets);
            },
            data, &validation, plan, device) {
    training.model.poison = [this, script = std::move(script), micro = plan.batch.micro](const Tape& tape) {
      const RandomKey key = tape.context().random;
      const float scale = tape.context().loss_scale.to_vector<float>().at(0);
      if (!script.overflows(key.window, key.first_sample / micro, scale)) return std::vector<Poison>();
      return std::vector<Poison>{{.parameter = parameter(), .value = std::numeric_limits<float>::infinity()}};
    };
    trainer.on_window = [this](const WindowRecord& record) { records.push_back(record); };
    trainer.on_overflow = [this](const WindowReport& report) { overflows.push_back(report); };
    trainer.on_save = [this] { saved_at.push_back(training.accumulator.state().window); };
  }

  Parameter parameter() const { return training.parameters.parameters().at(1); }

  Training<Poisoned<nn::Mlp>> training;
  MemoryDataset data, validation;
  std::vector<WindowRecord> records;
  std::vector<WindowReport> overflows;
  std::vector<std::int64_t> saved_at;
  Trainer trainer;
};

std::string told(const std::optional<Overflow>& overflow) {
  return overflow ? fmt::format("{} from {}", overflow->parameter, overflow->micro_batch.value_or(-1)) : "none";
}

// What a report says of its window, without the clock.
std::string told(const WindowReport& r) {
  return fmt::format(
      "window {} update {} outcome {} of {} and {}, {} targets: loss {} norm {} rate {} scale {} to {}, overflow {}",
      r.window, r.update, static_cast<int>(r.outcome), r.micro_batches, r.samples, r.targets, r.loss, r.grad_norm,
      r.learning_rate, r.loss_scale, r.next_loss_scale, told(r.overflow));
}

std::vector<std::string> story(const std::vector<WindowReport>& reports) {
  std::vector<std::string> all;
  for (const WindowReport& report : reports) all.push_back(told(report));
  return all;
}

std::vector<std::string> story(const std::vector<WindowRecord>& records) {
  std::vector<std::string> all;
  for (const WindowRecord& record : records)
    all.push_back(fmt::format("{}, replayed {}, validation {}", told(record.report),
                              fmt::join(story(record.replayed), "; "), record.validation_loss.value_or(-1)));
  return all;
}

const Script in_windows_1_4_5 = {[](std::int64_t window, std::int64_t micro, float) {
  return (window == 1 && micro == 1) || (window == 4 && micro == 0) || window == 5;
}};
const Script above_two_to_the_thirteen = {
    [](std::int64_t, std::int64_t micro, float scale) { return micro == 1 && scale > 0x1p13f; }};

TEST(TrainerOverflow, LateReportsTellTheSameStoryAndLeaveTheSameBits) {
  for (const Device device : devices()) {
    for (const OnOverflow on_overflow : {OnOverflow::skip, OnOverflow::replay}) {
      for (const std::int64_t micro : {2, 4}) {
        TrainerOptions plan = windows_of_four(9, micro);
        plan.evaluate_every = 3;
        plan.save_every.updates = 4;
        const Script script =
            on_overflow == OnOverflow::skip
                ? Script{[](std::int64_t window, std::int64_t, float) {
                    return window == 1 || window == 4 || window == 5 || window == 11;
                  }}
                : Script{[](std::int64_t window, std::int64_t, float scale) { return window >= 2 && scale > 0x1p13f; }};
        OverflowingRun at_once(device, scaled(Reports::at_once, on_overflow), plan, script),
            late(device, scaled(Reports::one_window_late, on_overflow), plan, script);
        at_once.trainer.run();
        late.trainer.run();
        EXPECT_EQ(story(late.records), story(at_once.records));
        EXPECT_EQ(late.saved_at, at_once.saved_at);
        EXPECT_EQ(story(late.overflows), story(at_once.overflows));
        EXPECT_FALSE(late.overflows.empty());
        EXPECT_EQ(late.training.bits(), at_once.training.bits());
        const Counters a = late.training.accumulator.counters(), b = at_once.training.accumulator.counters();
        EXPECT_EQ(a.micro, b.micro);
        EXPECT_EQ(a.window, b.window);
        EXPECT_EQ(a.skipped, b.skipped);
        EXPECT_EQ(a.replayed, b.replayed);
        EXPECT_EQ(a.window, a.update + a.skipped + a.empty);
      }
    }
  }
}

TEST(TrainerOverflow, ASkippedWindowIsReportedWithParameterAndMicroBatch) {
  for (const Device device : devices())
    for (const Reports reports : {Reports::at_once, Reports::one_window_late}) {
      OverflowingRun run(device, scaled(reports), windows_of_four(6), in_windows_1_4_5);
      run.trainer.run();
      ASSERT_EQ(run.records.size(), 9u);
      std::vector<std::int64_t> windows, micro_batches;
      for (const WindowReport& report : run.overflows) {
        EXPECT_EQ(report.outcome, Outcome::skipped);
        EXPECT_EQ(report.overflow->parameter, run.parameter().name());
        windows.push_back(report.window);
        micro_batches.push_back(report.overflow->micro_batch.value_or(-1));
      }
      EXPECT_THAT(windows, ElementsAre(1, 4, 5));
      EXPECT_THAT(micro_batches, ElementsAre(1, 0, 0));
      EXPECT_EQ(run.records[4].report.overflow->micro_batch, 0);
      EXPECT_EQ(run.records[1].report.next_loss_scale, 0x1p15);
    }
}

// No data is lost: the update is that of a run which began at the scale that the replays ended with.
TEST(TrainerOverflow, AReplayedRunEqualsOneThatBeganAtThatScale) {
  for (const Device device : devices())
    for (const Reports reports : {Reports::at_once, Reports::one_window_late}) {
      OverflowingRun replayed(device, scaled(reports, OnOverflow::replay), windows_of_four(3),
                              above_two_to_the_thirteen),
          begun_there(device, scaled(reports, OnOverflow::replay, 0x1p13f), windows_of_four(3),
                      above_two_to_the_thirteen);
      replayed.trainer.run();
      begun_there.trainer.run();
      std::vector<WindowReport> counted, expected;
      for (WindowRecord& record : replayed.records) counted.push_back(record.report);
      for (WindowRecord& record : begun_there.records) expected.push_back(record.report);
      EXPECT_EQ(story(counted), story(expected));
      EXPECT_EQ(replayed.training.bits(), begun_there.training.bits());
      EXPECT_EQ(replayed.training.accumulator.counters().replayed, 3);
      EXPECT_EQ(replayed.training.accumulator.counters().window, 3);
      EXPECT_EQ(begun_there.training.accumulator.counters().replayed, 0);
      ASSERT_EQ(replayed.records[0].replayed.size(), 3u);
      EXPECT_EQ(replayed.records[0].replayed[0].loss_scale, 0x1p16);
      EXPECT_EQ(replayed.records[0].replayed[2].overflow->micro_batch, 1);
      EXPECT_TRUE(replayed.records[1].replayed.empty());
    }
}

TEST(TrainerOverflow, AtTheFloorAWindowIsSkippedInsteadOfReplayedForEver) {
  for (const Device device : devices()) {
    const Script once = {[](std::int64_t window, std::int64_t, float) { return window == 0; }};
    OverflowingRun run(device, scaled(Reports::one_window_late, OnOverflow::replay, 4), windows_of_four(2), once);
    run.trainer.run();
    EXPECT_EQ(run.training.accumulator.counters().replayed, 2);
    EXPECT_EQ(run.training.accumulator.counters().skipped, 1);
    EXPECT_EQ(run.training.accumulator.counters().update, 2);
    EXPECT_EQ(run.records[0].replayed.size(), 2u);
    EXPECT_EQ(run.records[0].report.outcome, Outcome::skipped);
  }
}

TEST(TrainerOverflow, TheErrorAtTheFloorNamesMicroBatchWindowAndParameterAfterSaving) {
  for (const Device device : devices())
    for (const Reports reports : {Reports::at_once, Reports::one_window_late}) {
      AccumulatorOptions options = scaled(reports, OnOverflow::skip, 2);
      options.patience = 3;
      const Script from_two_on = {
          [](std::int64_t window, std::int64_t micro, float) { return window >= 2 && micro == 0; }};
      OverflowingRun run(device, options, windows_of_four(20), from_two_on);
      const std::string message = error_message([&] { run.trainer.run(); }, ErrorKind::numeric);
      EXPECT_THAT(message, AllOf(HasSubstr("3 windows in a row"), HasSubstr("floor, 1"), HasSubstr("update 2"),
                                 HasSubstr(run.parameter().name() + ", in micro-batch 1 of 1 of window 5")));
      EXPECT_EQ(run.records.size(), 6u);
      EXPECT_THAT(run.saved_at, ElementsAre(6));
    }
}

// Everything that a checkpoint hands from one run to the next.
void hand_over(const OverflowingRun& from, OverflowingRun& to) {
  const Accumulator::State state = from.training.accumulator.state();
  to.training.parameters.master().copy_from(from.training.parameters.master());
  const auto target = to.training.optimizer.state_tensors(), source = from.training.optimizer.state_tensors();
  for (std::size_t i = 0; i < target.size(); ++i) target[i].tensor.copy_from(source[i].tensor);
  to.training.accumulator.restore(state);
  for (std::size_t i = 0; i < from.training.parameters.parameters().size() && state.micro_in_window > 0; ++i) {
    const Parameter& gradient = from.training.parameters.parameters()[i];
    std::vector<std::byte> buffer;
    if (!gradient.fresh()) to.training.parameters.parameters()[i].restore_gradient(gradient.grad().host_bytes(buffer));
  }
  to.trainer.restore(from.trainer.state());
}

// Stopped after each micro-batch in turn, between attempts at a window and inside them.
TEST(TrainerOverflow, ARunThatIsStoppedWhileAWindowIsReplayedTellsTheSameStory) {
  for (const Device device : devices())
    for (const Reports reports : {Reports::at_once, Reports::one_window_late}) {
      const AccumulatorOptions options = scaled(reports, OnOverflow::replay);
      OverflowingRun whole(device, options, windows_of_four(3), above_two_to_the_thirteen);
      whole.trainer.run();
      EXPECT_EQ(whole.records[0].replayed.size(), 3u);
      std::int64_t stops = 0;
      for (std::int64_t after = 1;; ++after) {
        OverflowingRun first(device, options, windows_of_four(3), above_two_to_the_thirteen),
            second(device, options, windows_of_four(3), above_two_to_the_thirteen);
        std::int64_t asked = 0;
        first.trainer.stop_requested = [&] { return ++asked == after; };
        if (first.trainer.run() == TrainingEnd::finished) break;
        ++stops;
        EXPECT_EQ(first.saved_at.size(), 1u);
        hand_over(first, second);
        second.trainer.run();
        std::vector<WindowRecord> both = first.records;
        both.insert(both.end(), second.records.begin(), second.records.end());
        EXPECT_EQ(story(both), story(whole.records)) << "stopped after " << after << " micro-batches";
        EXPECT_EQ(second.training.bits(), whole.training.bits()) << "stopped after " << after << " micro-batches";
      }
      EXPECT_GE(stops, 8);
    }
}

TEST(TrainerOverflow, AStoppedRunThatIsResumedEqualsOneThatWasNot) {
  for (const Device device : devices()) {
    const AccumulatorOptions options = scaled(Reports::one_window_late);
    OverflowingRun whole(device, options, windows_of_four(8), in_windows_1_4_5),
        first(device, options, windows_of_four(8), in_windows_1_4_5),
        second(device, options, windows_of_four(8), in_windows_1_4_5);
    whole.trainer.run();
    std::int64_t asked = 0;
    first.trainer.stop_requested = [&] { return ++asked == 6; };  // with an overflow under way
    EXPECT_EQ(first.trainer.run(), TrainingEnd::stopped);
    hand_over(first, second);
    second.trainer.run();
    std::vector<WindowRecord> both = first.records;
    both.insert(both.end(), second.records.begin(), second.records.end());
    EXPECT_EQ(story(both), story(whole.records));
    EXPECT_EQ(second.training.bits(), whole.training.bits());
  }
}

}  // namespace
}  // namespace accrue::train::trainer_overflow_test
