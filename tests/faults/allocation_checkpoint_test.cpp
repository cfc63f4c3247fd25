// Every allocation of saving and of resuming fails once: a checkpoint that resumes is there at any time, the training
// that was to be saved goes on untouched, and a second try succeeds.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/faults/allocation_subject.h"
#include "tests/testing/saving.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_directory.h"

namespace accrue::testing {
namespace {

namespace fs = std::filesystem;

const train::RunSettings run_settings{.program = "gpt",
                                      .data = {.bytes = 4, .hash = 0xabc},
                                      .seed = 3,
                                      .global_batch = 6,
                                      .data_order = "shuffled",
                                      .partial_window = "step",
                                      .dataset_size = 12,
                                      .steps = 10,
                                      .rules = {{"--clip", "1"}}};

const nlohmann::json config{{"n_layer", 1}};

void save(Subject& training, const fs::path& run) {
  save_training(run, training, {.settings = run_settings, .config = config});
}

void resume(Subject& training, const fs::path& run) {
  resume_training(train::find_resume_point(run).checkpoint, training, run_settings);
}

// A training that has saved a checkpoint, and has gone on since.
struct Saved {
  explicit Saved(Device device) : training(device) {
    train::make_run_directory(run);
    training.window();
    save(training, run);
    older = training.bits();
    training.window();
    newer = training.bits();
  }
  TemporaryFolder folder;
  fs::path run = folder / "run";
  Subject training;
  Subject::Bits older, newer;
};

// Its run directory, for one more try.
struct RunCopy {
  explicit RunCopy(const fs::path& of) {
    fs::copy(of, run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }
  TemporaryFolder folder;
  fs::path run = folder / "run";
};

class AllocationFaultsOfCheckpoints : public ::testing::TestWithParam<FaultyMemory> {};

TEST_P(AllocationFaultsOfCheckpoints, WhileSaving) {
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cuda && GetParam() == FaultyMemory::host) continue;
    Saved saved(device);
    Subject resumed(device);
    fail_at_every_site(
        "saving a checkpoint", GetParam(), device, [&] { return std::make_unique<RunCopy>(saved.run); },
        [&](RunCopy& copy) { save(saved.training, copy.run); },
        [&](RunCopy& copy, bool completed) {
          EXPECT_EQ(saved.training.bits(), saved.newer) << "saving has changed what was to be saved";
          resume(resumed, copy.run);
          const Subject::Bits found = resumed.bits();
          EXPECT_TRUE(found == saved.newer || (found == saved.older && !completed)) << "neither checkpoint is there";
          save(saved.training, copy.run);
          resume(resumed, copy.run);
          EXPECT_EQ(resumed.bits(), saved.newer) << "the second try has not saved";
        });
  }
}

TEST_P(AllocationFaultsOfCheckpoints, WhileResuming) {
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cuda && GetParam() == FaultyMemory::host) continue;
    Saved saved(device);
    save(saved.training, saved.run);
    saved.training.window();
    const Subject::Bits next = saved.training.bits();
    fail_at_every_site(
        "resuming a checkpoint", GetParam(), device, [&] { return std::make_unique<Subject>(device); },
        [&](Subject& s) { resume(s, saved.run); },
        [&](Subject& s, bool) {
          resume(s, saved.run);
          EXPECT_EQ(s.bits(), saved.newer);
          s.window();
          EXPECT_EQ(s.bits(), next);
        });
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, AllocationFaultsOfCheckpoints,
                         ::testing::Values(FaultyMemory::host, FaultyMemory::arena),
                         [](const ::testing::TestParamInfo<FaultyMemory>& memory) {
                           return memory.param == FaultyMemory::host ? "Host" : "Arena";
                         });

}  // namespace
}  // namespace accrue::testing
