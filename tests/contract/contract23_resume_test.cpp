// Contract 23 and 24: resuming between windows, with the same or another micro-batch.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

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
  train::save_checkpoint(folder, settings, {}, run.training.parameters, run.training.optimizer,
                         run.training.accumulator);
}

void resume(const std::filesystem::path& folder, TrainerRun& run) {
  train::resume_checkpoint(train::find_checkpoint(folder), settings, run.training.parameters, run.training.optimizer,
                           run.training.accumulator);
}

TEST(Contract23, ResumingBetweenWindowsContinuesBitExactly) {
  for (const Device device : devices()) {
    for (const std::int64_t interrupted_after : {1, 2, 3, 5}) {  // before, at and after the first epoch's end
      const MemoryDataset data(gpt_samples(small_gpt(), unequal_counts(dataset_size), 1, device));
      const nn::GptConfig config = small_gpt(0.2f);
      TrainerRun straight(data, options(2, 8), config, device, schedule);
      straight.run();
      const std::vector<std::int64_t> straight_order = data.shown;

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

}  // namespace
}  // namespace accrue::testing
