// Checkpoints of trainings in tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "train/checkpoint.h"

namespace accrue::testing {

// What a test's run is, where it does not matter.
struct SavedRun {
  train::RunSettings settings;
  nlohmann::json config{{"widths", {3, 2}}};
  train::TrainerState trainer;
  std::int64_t keep = 0;
};

// Saves a Training (training.h) in the directory of a run; returns what save_checkpoint() does.
template <class Training>
std::string save_training(const std::filesystem::path& run, Training& training, const SavedRun& with = {}) {
  return train::save_checkpoint(run,
                                {.settings = with.settings,
                                 .config = with.config,
                                 .parameters = training.parameters,
                                 .optimizer = training.optimizer,
                                 .accumulator = training.accumulator,
                                 .trainer = with.trainer},
                                with.keep);
}

template <class Training>
train::ResumedCheckpoint resume_training(const std::filesystem::path& checkpoint, Training& training,
                                         const train::RunSettings& settings = {}) {
  return train::resume_checkpoint(checkpoint, settings, training.parameters, training.optimizer, training.accumulator);
}

}  // namespace accrue::testing
