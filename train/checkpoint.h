// Checkpoints of a run: DIR/checkpoints/update-00000100/{model,optimizer}.safetensors, config.json, state.json, with
// DIR/latest pointing at the newest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/check.h"
#include "core/parameter.h"
#include "optim/optimizer.h"
#include "train/accumulator.h"
#include "train/json_file.h"
#include "train/run_settings.h"

namespace accrue::train {

inline constexpr const char* checkpoint_files[] = {"state.json", "config.json", "model.safetensors",
                                                   "optimizer.safetensors"};

// Thrown for a whole checkpoint that another version of Accrue wrote.
class OtherFormat : public Error {
  using Error::Error;
};

// Writes a complete checkpoint next to the existing ones, then makes it the latest. `config` describes the model.
void save_checkpoint(const std::filesystem::path& run, const RunSettings& settings, const nlohmann::json& config,
                     const ParameterStore& parameters, optim::Optimizer& optimizer, const Accumulator& accumulator);

// The checkpoint that a user's path means: the path itself, or the latest of a run directory.
// Throws Error(no_input) if there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

// Throws what resuming from it would, short of comparing it with a run: Error(no_input) for a missing file,
// Error(bad_data) for a damaged one, OtherFormat.
void require_readable_checkpoint(const std::filesystem::path& checkpoint);

// Puts a checkpoint's weights, optimizer state and counters back, and returns the settings it was saved with. Throws
// Error(bad_data) if the files are damaged or of a model of another shape, Error(usage) if the run's settings differ
// from those it was saved with.
RunSettings resume_checkpoint(const std::filesystem::path& checkpoint, const RunSettings& settings,
                              const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator);
// The model's weights alone.
void load_weights(const std::filesystem::path& checkpoint, const ParameterStore& parameters);

}  // namespace accrue::train
