// Contract 23 and 24: resuming between windows and inside them, with the same or another micro-batch or device.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "tests/testing/poison.h"
#include "tests/testing/saving.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_directory.h"

namespace accrue::testing {
namespace {

constexpr std::int64_t dataset_size = 11, global_batch = 4;  // epochs end inside, and never at, a multiple of the batch

train::TrainerOptions options(std::int64_t micro, std::int64_t steps,
                              train::PartialWindow partial = train::PartialWindow::step) {
  return {.batch = {.micro = micro, .accumulation = global_batch / micro, .global = global_batch, .last_micro = micro},
          .steps = steps,
          .order = train::DataOrder::shuffled,
          .partial = partial,
          .seed = 7};
}

const train::AccumulatorOptions schedule{
    .schedule = {.kind = kernels::ScheduleKind::cosine, .peak = 1e-2, .warmup = 2, .total = 10},
    .max_norm = 1.0,
    .seed = 7};

const train::RunSettings settings{.program = "test",
                                  .data = {},
                                  .seed = 7,
                                  .global_batch = global_batch,
                                  .data_order = "shuffled",
                                  .partial_window = "step",
                                  .dataset_size = dataset_size,
                                  .steps = 8,
                                  .rules = {}};

void save(const std::filesystem::path& folder, TrainerRun& run) {
  train::make_run_directory(folder);
  save_training(folder, run.training, {.settings = settings, .trainer = run.trainer.state()});
}

void resume(const std::filesystem::path& folder, TrainerRun& run) {
  run.trainer.restore(resume_training(train::find_checkpoint(folder), run.training, settings).trainer);
}

TEST(Contract23, ResumingBetweenWindowsContinuesBitExactly) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(dataset_size), 1, device));
    const nn::GptConfig config = small_gpt(0.2f);
    TrainerRun straight(data, options(2, 8), config, device, schedule);
    straight.run();
    const std::vector<std::int64_t> straight_order = data.shown;
    for (const std::int64_t interrupted_after : {1, 2, 3, 5}) {  // before, at and after the first epoch's end
      data.shown.clear();
      const TemporaryFolder folder;
      TrainerRun first(data, options(2, interrupted_after), config, device, schedule);
      first.run();
      save(folder.path(), first);
      TrainerRun second(data, options(2, 8), config, device, schedule);
      resume(folder.path(), second);
      EXPECT_EQ(second.training.bits(), first.training.bits());
      second.run();

      EXPECT_EQ(data.shown, straight_order);
      EXPECT_EQ(second.training.bits(), straight.training.bits()) << "interrupted after " << interrupted_after;
      EXPECT_EQ(second.records.back().report.loss, straight.records.back().report.loss);
      EXPECT_EQ(second.records.back().report.learning_rate, straight.records.back().report.learning_rate);
      const train::Counters resumed = second.training.accumulator.counters(),
                            expected = straight.training.accumulator.counters();
      EXPECT_EQ(resumed.micro, expected.micro);
      EXPECT_EQ(resumed.window, expected.window);
      EXPECT_EQ(resumed.update, expected.update);
    }
  }
}

TrainerRun& stop_after(TrainerRun& run, std::size_t micro_batches) {
  run.trainer.stop_requested = [&run, micro_batches] { return run.keys.size() >= micro_batches; };
  run.trainer.run();
  return run;
}

// Interrupted after each micro-batch of three windows in turn, with reports that come at once and late: the same
// samples, random numbers, losses and bits.
TEST(Contract23, ResumingAfterAnyMicroBatchContinuesBitExactly) {
  for (const Device device : devices()) {
    for (const train::Reports reports : {train::Reports::at_once, train::Reports::one_window_late}) {
      const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(dataset_size), 1, device));
      const nn::GptConfig config = small_gpt(0.2f);
      train::AccumulatorOptions rules = schedule;
      rules.reports = reports;
      TrainerRun straight(data, options(1, 4), config, device, rules);
      straight.run();
      const std::vector<std::int64_t> straight_order = data.shown;
      // On the emulated device each micro-batch has its turn in one of the two.
      const bool late = reports == train::Reports::one_window_late, slow = is_emulated(device);
      const std::size_t step = slow ? 2 : 1, first_end = slow && late ? 2 : 1;
      for (std::size_t after = first_end; after < 12; after += step) {
        SCOPED_TRACE(after);
        const TemporaryFolder folder;
        TrainerRun first(data, options(1, 4), config, device, rules);
        save(folder.path(), stop_after(first, after));
        EXPECT_EQ(first.training.accumulator.window_open(), after % 4 != 0 && after != 11);
        data.shown.clear();
        TrainerRun second(data, options(1, 4), config, device, rules);
        resume(folder.path(), second);
        second.run();
        const std::vector<std::int64_t> rest(straight_order.begin() + static_cast<std::ptrdiff_t>(after),
                                             straight_order.end());
        EXPECT_EQ(data.shown, rest);
        EXPECT_EQ(second.training.bits(), straight.training.bits());
        std::vector<train::WindowRecord> records = first.records;
        records.insert(records.end(), second.records.begin(), second.records.end());
        ASSERT_EQ(records.size(), straight.records.size());
        for (std::size_t i = 0; i < records.size(); ++i) {
          EXPECT_EQ(records[i].report.loss, straight.records[i].report.loss);
          EXPECT_EQ(records[i].report.grad_norm, straight.records[i].report.grad_norm);
          EXPECT_EQ(records[i].report.targets, straight.records[i].report.targets);
          EXPECT_EQ(records[i].report.samples, straight.records[i].report.samples);
          EXPECT_EQ(records[i].report.micro_batches, straight.records[i].report.micro_batches);
        }
        EXPECT_EQ(second.training.accumulator.counters().micro, straight.training.accumulator.counters().micro);
      }
    }
  }
}

// A gradient that is not finite in the first half of a window is still an overflow when the second half comes after a
// resume, and a loss that is infinite is still one.
TEST(Contract23, AnOverflowBeforeTheInterruptionIsNotForgotten) {
  for (const Device device : devices()) {
    const auto samples = [&](std::uint64_t seed) { return class_samples(2, 4, 3, seed, device); };
    const auto make = [&] {
      return std::make_unique<Training<Poisoned<nn::Mlp>>>(Poisoned(nn::Mlp({4, 6, 3})), device,
                                                           train::AccumulatorOptions{.accumulation = 2});
    };
    const auto first = make(), second = make();
    first->model.poison = [&](const Tape&) {
      return std::vector<Poison>{
          {.parameter = first->parameters.parameters().at(1), .value = std::numeric_limits<float>::infinity()}};
    };
    first->micro_batch(samples(1));
    const TemporaryFolder folder;
    train::make_run_directory(folder.path());
    save_training(folder.path(), *first);
    resume_training(train::find_checkpoint(folder.path()), *second);
    second->accumulator.continue_window(1);
    const auto report = second->micro_batch(samples(2));
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->outcome, train::Outcome::skipped);
    EXPECT_EQ(report->overflow->parameter, first->parameters.parameters().at(1).name());
    EXPECT_EQ(second->accumulator.counters().skipped, 1);
  }
}

// From the CPU to the CUDA device in the middle of a window and back: the samples, masks and counters are the same, and
// the weights differ by no more than the two devices' rounding, as where a run stays on one of them.
TEST(Contract23, ARunMovesBetweenDevicesInTheMiddleOfAWindow) {
  std::vector<Device> path{Device::cpu()};
  for (const Device device : devices())
    if (device.kind == DeviceKind::cuda) path = {Device::cpu(), device, Device::cpu()};
  if (path.size() == 1) GTEST_SKIP() << "this build has one device alone";
  const nn::GptConfig config = small_gpt(0.2f);
  const auto data_on = [&](Device device) {
    return MemoryDataset(gpt_samples(small_gpt(), unequal_counts(dataset_size), 1, device));
  };
  const MemoryDataset on_cpu = data_on(Device::cpu()), on_cuda = data_on(path[1]);
  TrainerRun straight(on_cpu, options(1, 4), config, Device::cpu(), schedule);
  straight.run();
  const TemporaryFolder folder;
  std::vector<std::int64_t> shown;
  std::vector<double> losses;
  std::optional<TrainerRun> last;
  for (std::size_t leg = 0; leg < path.size(); ++leg) {
    const MemoryDataset& data = path[leg].kind == DeviceKind::cpu ? on_cpu : on_cuda;
    data.shown.clear();
    last.emplace(data, options(1, 4), config, path[leg], schedule);
    if (leg > 0) resume(folder.path(), *last);
    // In the middle of windows 0 and 1.
    save(folder.path(), leg == 2 ? (last->run(), *last) : stop_after(*last, leg == 0 ? 2 : 4));
    // A stop comes when the next batch has been prefetched, which the next leg shows again.
    const std::size_t used = last->keys.size();
    shown.insert(shown.end(), data.shown.begin(), data.shown.begin() + static_cast<std::ptrdiff_t>(used));
    for (const train::WindowRecord& record : last->records) losses.push_back(record.report.loss);
  }
  on_cpu.shown.clear();
  TrainerRun again(on_cpu, options(1, 4), config, Device::cpu(), schedule);
  again.run();
  EXPECT_EQ(shown, on_cpu.shown);
  ASSERT_EQ(losses.size(), straight.records.size());
  // A loss is a mean of terms that each come through sums of at most 64 products in a dozen layers: their rounding,
  // some 12 * 64 * u relative, is the difference that the devices' orders of summation can make; Adam's normalised step
  // of at most the learning rate (1e-2) times the relative error of a gradient carries it on from window to window.
  for (std::size_t i = 0; i < losses.size(); ++i)
    EXPECT_NEAR(losses[i], straight.records[i].report.loss, straight.records[i].report.loss * 12 * 64 * u) << i;
  EXPECT_EQ(last->training.accumulator.counters().update, straight.training.accumulator.counters().update);
  EXPECT_EQ(last->training.accumulator.counters().micro, straight.training.accumulator.counters().micro);
}

TEST(Contract23, CountersOfSkippedAndEmptyWindowsSurvive) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), {8, 8, 8, 8, 0, 0, 0, 0, 1, 1, 1}, 1, device));
    train::TrainerOptions sequential = options(2, 2);
    sequential.order = train::DataOrder::sequential;
    TrainerRun first(data, sequential, small_gpt(), device, schedule),
        second(data, sequential, small_gpt(), device, schedule);
    first.run();
    EXPECT_EQ(first.training.accumulator.counters().empty, 1);
    const TemporaryFolder folder;
    save(folder.path(), first);
    resume(folder.path(), second);
    EXPECT_EQ(second.training.accumulator.counters().empty, 1);
    EXPECT_EQ(second.training.accumulator.counters().window, 3);
  }
}

TEST(Contract24, AnotherMicroBatchAfterAResumeSeesTheSameSamplesAndRandomNumbers) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(dataset_size), 2, device));
    const nn::GptConfig config = small_gpt(0.2f);
    TrainerRun straight(data, options(4, 6), config, device, schedule);
    straight.run();
    const std::vector<std::int64_t> straight_order = data.shown;

    for (const std::int64_t micro : {1, 2}) {
      data.shown.clear();
      const TemporaryFolder folder;
      TrainerRun first(data, options(4, 2), config, device, schedule),
          second(data, options(micro, 6), config, device, schedule);
      first.run();
      save(folder.path(), first);
      resume(folder.path(), second);
      second.run();

      EXPECT_EQ(data.shown, straight_order);
      // Sample by sample: seed, window and index in the window are those of the run that never stopped.
      const auto by_sample = [](const TrainerRun& run, std::int64_t from_window) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> keys;
        std::size_t key = 0;
        for (const train::WindowRecord& record : run.records) {
          std::uint32_t next = 0;
          for (std::int64_t m = 0; m < record.report.micro_batches; ++m, ++key) {
            EXPECT_EQ(run.keys[key].seed, 7u);
            EXPECT_EQ(run.keys[key].first_sample, next);
            if (run.keys[key].window >= from_window) keys.emplace_back(run.keys[key].window, record.report.samples);
            next += static_cast<std::uint32_t>(
                run.records.size() ? std::min<std::int64_t>(record.micro_batch, record.report.samples - next) : 0);
          }
          EXPECT_EQ(next, record.report.samples);
        }
        keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
        return keys;
      };
      EXPECT_EQ(by_sample(second, 2), by_sample(straight, 2));
      for (std::size_t window = 0; window < second.records.size(); ++window)
        EXPECT_EQ(second.records[window].report.targets, straight.records[window + 2].report.targets);
      // Window 2, the first after the resume, starts from the same bits: its loss shows the same samples and masks.
      // To the bit but for the order of the f64 sum; on a GPU, where the rounding of a row depends on the rows beside
      // it, as near as f32.
      const double bound = device.kind == DeviceKind::cpu ? 2 * 32 * 0x1p-53 : 1e-5;
      EXPECT_NEAR(second.records[0].report.loss, straight.records[2].report.loss,
                  straight.records[2].report.loss * bound);
    }
  }
}

// In the middle of a window, too: what has arrived of it stays, and the rest comes in micro-batches of the new size.
TEST(Contract24, AnotherMicroBatchInTheMiddleOfAWindowSeesTheSameSamplesAndRandomNumbers) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(dataset_size), 2, device));
    const nn::GptConfig config = small_gpt(0.2f);
    TrainerRun straight(data, options(1, 3), config, device, schedule);
    straight.run();
    const std::vector<std::int64_t> straight_order = data.shown;
    for (const auto& [before, after, stop] : {std::tuple{1, 2, 1}, {1, 4, 3}, {2, 1, 1}, {1, 2, 5}, {2, 4, 3}}) {
      SCOPED_TRACE(fmt::format("micro-batches of {}, after {} of them of {}", before, stop, after));
      const TemporaryFolder folder;
      TrainerRun first(data, options(before, 3), config, device, schedule),
          second(data, options(after, 3), config, device, schedule);
      save(folder.path(), stop_after(first, static_cast<std::size_t>(stop)));
      ASSERT_TRUE(first.training.accumulator.window_open());
      data.shown.clear();
      resume(folder.path(), second);
      second.run();
      const std::vector<std::int64_t> rest(straight_order.begin() + before * stop, straight_order.end());
      EXPECT_EQ(data.shown, rest);
      // The window that was cut differently has the same samples and masks: its loss is the same to the rounding that
      // rows beside each other make, and the gradient is within contract 12's bound.
      const train::WindowReport &cut = second.records[0].report,
                                &uncut = straight.records[straight.records.size() - second.records.size()].report;
      EXPECT_EQ(cut.samples, uncut.samples);
      EXPECT_EQ(cut.targets, uncut.targets);
      EXPECT_NEAR(cut.loss, uncut.loss, uncut.loss * std::max(logged_loss_bound(device, uncut.targets), 1e-6));
      EXPECT_NEAR(cut.grad_norm, uncut.grad_norm, uncut.grad_norm * (device.kind == DeviceKind::cpu ? 1e-6 : 1e-5));
    }
  }
}

}  // namespace
}  // namespace accrue::testing
