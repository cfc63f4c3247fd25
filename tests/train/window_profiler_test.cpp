// Which window of a training is profiled, and that the training does not notice.
#include "train/window_profiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "nn/mlp.h"
#include "tests/testing/poison.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"

namespace accrue::train::window_profiler_test {
namespace {

using namespace accrue::testing;

TrainerOptions windows_of_four(std::int64_t steps) {
  return {.batch = {.micro = 2, .accumulation = 2, .global = 4, .last_micro = 2}, .steps = steps};
}

// A training of `steps` windows with a profiler.
struct ProfiledRun {
  ProfiledRun(Device device, std::int64_t steps, Reports reports = Reports::at_once)
      : data(gpt_samples(small_gpt(), std::vector<std::int64_t>(12, 8), 1, device)),
        run(data, windows_of_four(steps), small_gpt(0.1f), device, {.max_norm = 1, .reports = reports}),
        profiler(device) {
    profiler.on_profile = [this](const WindowProfile& p) {
      EXPECT_FALSE(profile.has_value());
      profile = p;
    };
    run.trainer.profiler = &profiler;
  }

  MemoryDataset data;
  TrainerRun run;
  WindowProfiler profiler;
  std::optional<WindowProfile> profile;
};

std::map<std::string_view, std::int64_t> calls_by_name(const Recording& recording) {
  std::map<std::string_view, std::int64_t> calls;
  for (const OperationCall& call : recording.calls) ++calls[call.name];
  return calls;
}

TEST(WindowProfiler, MeasuresTheThirdWindowOrTheLast) {
  for (const auto& [steps, number] : {std::pair<std::int64_t, std::int64_t>{5, 3}, {3, 3}, {2, 2}, {1, 1}}) {
    ProfiledRun profiled(Device::cpu(), steps);
    profiled.run.run();
    ASSERT_TRUE(profiled.profile) << steps;
    EXPECT_EQ(profiled.profile->of_process, number);
    EXPECT_EQ(profiled.profile->window, number - 1);
    EXPECT_EQ(profiled.profile->micro_batches, 2);
    EXPECT_EQ(profiled.profile->samples, 4);
  }
}

TEST(WindowProfiler, MeasuresNothingWhereThereIsNoWindow) {
  ProfiledRun profiled(Device::cpu(), 0);
  profiled.run.run();
  EXPECT_FALSE(profiled.profile);
  EXPECT_FALSE(profiled.profiler.done());
}

TEST(WindowProfiler, SeesEveryMicroBatchAndTheBoundary) {
  for (const Device device : devices()) {
    ProfiledRun profiled(device, 3);
    profiled.run.run();
    ASSERT_TRUE(profiled.profile);
    auto calls = calls_by_name(profiled.profile->recording);
    EXPECT_EQ(calls["data loading"], 2);
    EXPECT_EQ(calls["embedding_forward"], 2);
    EXPECT_EQ(calls["attention_forward"], 2 * 2);  // layers
    EXPECT_EQ(calls["attention_backward"], 2 * 2);
    EXPECT_EQ(calls["cross_entropy"], 2);
    EXPECT_EQ(calls["add_loss_terms"], 2);
    EXPECT_EQ(calls["gradient_check"], 1);
    EXPECT_EQ(calls["begin_step"], 1);
    EXPECT_EQ(calls["adamw"], 2);  // with weight decay and without
    EXPECT_EQ(calls["finish_step"], 1);
  }
}

// Each weight of a product multiplies every token once forward and twice backward: 6 FLOP.
TEST(WindowProfiler, CountsTheFlopOfTheWindow) {
  for (const Device device : devices()) {
    ProfiledRun profiled(device, 3);
    profiled.run.run();
    ASSERT_TRUE(profiled.profile);
    double flop = 0;
    for (const OperationCall& call : profiled.profile->recording.calls)
      if (call.name == "matmul") flop += call.cost.flop;
    // 12 width^2 of each layer and the vocabulary's product, for 4 samples of 8 tokens.
    const double weights = 2 * 12 * 16 * 16 + 29 * 16;
    EXPECT_EQ(flop, 6 * weights * 4 * 8);
  }
}

TEST(WindowProfiler, HasTimesWithinTheWindowThatAddUpToIt) {
  for (const Device device : devices()) {
    ProfiledRun profiled(device, 3);
    profiled.run.run();
    ASSERT_TRUE(profiled.profile);
    const Recording& recording = profiled.profile->recording;
    EXPECT_GT(recording.seconds, 0);
    const double rounding = 1e-6 * recording.seconds;
    for (const OperationCall& call : recording.calls) {
      EXPECT_GE(call.begin, 0);
      EXPECT_LE(call.begin, call.end);
      EXPECT_LE(call.end, recording.seconds);
      EXPECT_GE(call.self, -rounding) << call.name;
    }
    double sum = 0;
    for (const ProfileRow& row : profile_rows(recording, {})) sum += row.seconds;
    EXPECT_NEAR(sum, recording.seconds, rounding);
    EXPECT_GE(profile_rows(recording, {}).back().seconds, -rounding);
  }
}

TEST(WindowProfiler, ChangesNoBitOfTheTraining) {
  for (const Device device : devices())
    for (const Reports reports : {Reports::at_once, Reports::one_window_late}) {
      ProfiledRun profiled(device, 4, reports), plain(device, 4, reports);
      plain.run.trainer.profiler = nullptr;
      profiled.run.run();
      plain.run.run();
      EXPECT_TRUE(profiled.profile.has_value());
      EXPECT_EQ(profiled.run.training.bits(), plain.run.training.bits());
      EXPECT_EQ(profiled.data.shown, plain.data.shown);
      ASSERT_EQ(profiled.run.records.size(), plain.run.records.size());
      for (std::size_t i = 0; i < plain.run.records.size(); ++i) {
        EXPECT_EQ(profiled.run.records[i].report.loss, plain.run.records[i].report.loss);
        EXPECT_EQ(profiled.run.records[i].report.grad_norm, plain.run.records[i].report.grad_norm);
      }
    }
}

TEST(WindowProfiler, LeavesTheTurnOfAWindowThatDoesNotRunToItsEndToTheNext) {
  ProfiledRun profiled(Device::cpu(), 5);
  int micro_batches = 0;
  profiled.run.trainer.stop_requested = [&] { return ++micro_batches == 5; };  // in the middle of the third window
  profiled.run.run();
  EXPECT_FALSE(profiled.profile);
  EXPECT_EQ(kernels::operation_observer(), nullptr);
  profiled.run.trainer.stop_requested = nullptr;
  profiled.run.run();
  ASSERT_TRUE(profiled.profile);
  EXPECT_EQ(profiled.profile->window, 2);
  EXPECT_EQ(profiled.profile->samples_before, 2);
  EXPECT_EQ(profiled.profile->micro_batches, 1);
}

// Which window is profiled, its number in the run and in the process, where the gradient of `overflowing` overflows
// once.
std::pair<std::int64_t, std::int64_t> profiled_beside_overflow(Device device, Reports reports,
                                                               std::int64_t overflowing) {
  Training<Poisoned<nn::Mlp>> training(Poisoned(nn::Mlp({4, 6, 3})), device,
                                       {.scaling = {.dynamic = true}, .loss_scale = 0x1p16f, .reports = reports});
  const MemoryDataset data(class_samples(24, 4, 3, 1, device));
  const auto loss = [&](Tape& tape, const Batch& batch) {
    return nn::cross_entropy(tape, training.model.forward(tape, batch.inputs), batch.targets);
  };
  Trainer trainer(training.accumulator, loss, data, nullptr, windows_of_four(6), device);
  training.model.poison = [&](const Tape& tape) {
    if (tape.context().random.window != overflowing) return std::vector<Poison>();
    return std::vector<Poison>{
        {.parameter = training.parameters.parameters().at(1), .value = std::numeric_limits<float>::infinity()}};
  };
  WindowProfiler profiler(device);
  std::pair<std::int64_t, std::int64_t> profiled;
  profiler.on_profile = [&](const WindowProfile& profile) { profiled = {profile.window, profile.of_process}; };
  trainer.profiler = &profiler;
  trainer.run();
  return profiled;
}

TEST(WindowProfiler, LeavesTheTurnOfAWindowAroundWhichAnOverflowIsReportedToTheNext) {
  for (const Device device : devices()) {
    EXPECT_EQ(profiled_beside_overflow(device, Reports::at_once, 2), std::pair(std::int64_t{3}, std::int64_t{4}));
    // At the end of window 2 it is known that the one before overflowed: window 2 has left no trace, and comes again.
    EXPECT_EQ(profiled_beside_overflow(device, Reports::one_window_late, 1),
              std::pair(std::int64_t{2}, std::int64_t{4}));
  }
}

}  // namespace
}  // namespace accrue::train::window_profiler_test
