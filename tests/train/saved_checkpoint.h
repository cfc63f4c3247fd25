// A run with a checkpoint, for tests of what comes back from it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/run_directory.h"
#include "train/sealed_folder.h"

namespace accrue::train::checkpoint_test {

using namespace accrue::testing;
using Mlp = Training<nn::Mlp>;

inline const RunSettings saved_settings{.program = "mlp",
                                        .data = {.bytes = 4, .hash = 0xabc},
                                        .seed = 3,
                                        .global_batch = 8,
                                        .data_order = "shuffled",
                                        .partial_window = "step",
                                        .dataset_size = 100,
                                        .steps = 10,
                                        .rules = {{"--clip", "1"}}};

// A run directory with one checkpoint of a model that has done two updates.
class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint() {
    trained.window(class_samples(4, 3, 2, 1));
    trained.window(class_samples(4, 3, 2, 2));
    make_run_directory(run());
    save(trained);
  }
  std::filesystem::path run() const { return folder / "run"; }
  void save(Mlp& training, const TrainerState& trainer = {}) {
    EXPECT_EQ(save_training(run(), training,
                            {.settings = saved_settings, .config = {{"widths", {3, 5, 2}}}, .trainer = trainer}),
              "");
  }
  static ResumedCheckpoint resume(const std::filesystem::path& checkpoint, Mlp& training,
                                  const RunSettings& with = saved_settings) {
    return resume_training(checkpoint, training, with);
  }
  // Resuming must fail with this kind of error, and change nothing. Returns the message.
  std::string refusal(ErrorKind kind, const RunSettings& with = saved_settings) {
    Mlp fresh{nn::Mlp({3, 5, 2})};
    const TrainingBits before = fresh.bits();
    const std::string message = error_of(kind, [&] { resume(find_checkpoint(run()), fresh, with); });
    EXPECT_EQ(fresh.bits(), before) << "a refused checkpoint changed something";
    EXPECT_EQ(fresh.accumulator.counters().window, 0);
    return message;
  }
  // The same for a training of the test's; empty if nothing is refused.
  std::string refusal_of(Mlp& fresh) {
    const TrainingBits before = fresh.bits();
    try {
      resume(find_checkpoint(run()), fresh);
      return {};
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_data) << error.what();
      EXPECT_EQ(fresh.bits(), before) << "a refused checkpoint changed something";
      return error.what();
    }
  }
  void change_state(const std::function<void(nlohmann::json&)>& change) {
    const std::filesystem::path file = run() / "latest" / "state.json";
    nlohmann::json json = read_json(file);
    change(json);
    write_file(file, json.dump());
    seal_folder(run() / "latest");
  }

  TemporaryFolder folder;
  Mlp trained{nn::Mlp({3, 5, 2})};
};

}  // namespace accrue::train::checkpoint_test
