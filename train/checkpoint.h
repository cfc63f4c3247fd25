// Checkpoints of a run: DIR/checkpoints/update-00000100/{model,optimizer}.safetensors, config.json, state.json and, of
// one made inside a window, window.safetensors; checksums.xxh128 over all of them; DIR/latest points at the newest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/check.h"
#include "core/parameter.h"
#include "optim/optimizer.h"
#include "train/accumulator.h"
#include "train/checkpoint_state.h"
#include "train/json_file.h"
#include "train/run_settings.h"
#include "train/trainer_state.h"

namespace accrue::train {

// What a checkpoint is made of. Between micro-batches, with no report of a window still to come.
struct CheckpointContent {
  const RunSettings& settings;
  const nlohmann::json& config;  // describes the model
  const ParameterStore& parameters;
  optim::Optimizer& optimizer;
  const Accumulator& accumulator;
  const TrainerState& trainer;
};

// Writes a checkpoint next to those that are there, reads it back, makes it the latest, and then removes the oldest
// ones beyond the newest `keep` (0: none). Whatever goes wrong, and wherever the process is killed, the others stay
// whole. Returns why an old one could not be removed; empty if nothing was in the way. Throws Error(cannot_create) or
// Error(io).
std::string save_checkpoint(const std::filesystem::path& run, const CheckpointContent& content, std::int64_t keep = 0);

// The checkpoint that a user's path means: the path itself, or the latest of a run directory.
// Throws Error(no_input) if there is none, Error(bad_data) if its files are not what was written.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

// What is wrong with a checkpoint: files that are missing or not what was written; empty if nothing is. Throws
// Error(no_input) for a file that this process may not open.
std::string damage_of_checkpoint(const std::filesystem::path& checkpoint);

// Throws what resuming from an undamaged one would, short of comparing it with a run: Error(bad_data), OtherFormat.
void require_readable_checkpoint(const std::filesystem::path& checkpoint);

struct ResumedCheckpoint {
  RunSettings settings;  // that it was saved with
  TrainerState trainer;
  bool window_starts_again = false;  // the open window's sums were made by other rules than this run's
};

// Puts a checkpoint's weights, optimizer state, counters and the sums of an open window back. Throws Error(bad_data) if
// the files are damaged or of a model of another shape, Error(usage) if the run's settings differ from those it was
// saved with; then nothing has changed.
ResumedCheckpoint resume_checkpoint(const std::filesystem::path& checkpoint, const RunSettings& settings,
                                    const ParameterStore& parameters, optim::Optimizer& optimizer,
                                    Accumulator& accumulator);
// The model's weights alone.
void load_weights(const std::filesystem::path& checkpoint, const ParameterStore& parameters);

}  // namespace accrue::train
