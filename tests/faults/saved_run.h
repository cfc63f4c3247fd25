// A small model with the directory of its run: what the tests of faults save and resume.
#pragma once

#include <fmt/ranges.h>

#include <filesystem>
#include <string>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_directory.h"

namespace accrue::testing::faults {

using Mlp = Training<nn::Mlp>;

inline Mlp small_mlp() { return Mlp{nn::Mlp({3, 5, 2})}; }

// Trains one more update.
inline void train_on(Mlp& training, std::uint64_t seed) { training.window(class_samples(4, 3, 2, seed)); }

inline void save(const std::filesystem::path& run, Mlp& training, std::int64_t keep = 0) {
  save_training(run, training, {.keep = keep});
}

// Continues where the run can be continued. Returns the notes that say why it is not the newest checkpoint.
inline std::string resume(const std::filesystem::path& run, Mlp& training) {
  const train::ResumePoint point = train::find_resume_point(run);
  resume_training(point.checkpoint, training);
  return fmt::format("{}", fmt::join(point.notes, "; "));
}

// What somebody who resumes the run finds.
inline TrainingBits resumed_bits(const std::filesystem::path& run) {
  Mlp fresh = small_mlp();
  resume(run, fresh);
  return fresh.bits();
}

}  // namespace accrue::testing::faults
