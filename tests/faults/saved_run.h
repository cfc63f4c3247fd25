// A small model with the directory of its run: what the tests of faults save and resume.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "nn/mlp.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_directory.h"

namespace accrue::testing::faults {

using Mlp = Training<nn::Mlp>;

inline Mlp small_mlp() { return Mlp{nn::Mlp({3, 5, 2})}; }

// Trains one more update.
inline void train_on(Mlp& training, std::uint64_t seed) { training.window(class_samples(4, 3, 2, seed)); }

inline void save(const std::filesystem::path& run, Mlp& training) {
  train::save_checkpoint(run, {}, {{"widths", {3, 5, 2}}}, training.parameters, training.optimizer,
                         training.accumulator);
}

// Continues where the run can be continued. Returns the note that says why it is not the latest checkpoint.
inline std::string resume(const std::filesystem::path& run, Mlp& training) {
  const train::ResumePoint point = train::find_resume_point(run);
  train::resume_checkpoint(point.checkpoint, {}, training.parameters, training.optimizer, training.accumulator);
  return point.note;
}

// What somebody who resumes the run finds.
inline TrainingBits resumed_bits(const std::filesystem::path& run) {
  Mlp fresh = small_mlp();
  resume(run, fresh);
  return fresh.bits();
}

}  // namespace accrue::testing::faults
