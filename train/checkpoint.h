// Checkpoints of a run: DIR/checkpoints/update-00000100/{model,optimizer}.safetensors, config.json, state.json, with
// DIR/latest pointing at the newest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/parameter.h"
#include "optim/optimizer.h"
#include "train/accumulator.h"

namespace accrue::train {

// What gives the data cursor its meaning. A run resumes only with the same settings: another value would silently show
// it other samples. The micro-batch is not among them: a window's samples do not depend on how it is split (contract
// 24).
struct RunSettings {
  std::string program;
  std::uint64_t seed = 0;
  std::int64_t global_batch = 0;
  std::string data_order;
  std::string partial_window;
  std::int64_t dataset_size = 0;

  friend bool operator==(const RunSettings&, const RunSettings&) = default;
};

// Makes the directory of a run. Throws Error(cannot_create) with the system's reason.
void make_run_directory(const std::filesystem::path& run);

// Writes a complete checkpoint next to the existing ones, then makes it the latest. `config` describes the model.
void save_checkpoint(const std::filesystem::path& run, const RunSettings& settings, const nlohmann::json& config,
                     const ParameterStore& parameters, optim::Optimizer& optimizer, const Accumulator& accumulator);

// The checkpoint that a user's path means: the path itself, or the latest of a run directory.
// Throws Error(no_input) if there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

// Puts a checkpoint's weights, optimizer state and counters back. Throws Error(bad_data) if the files are damaged or of
// a model of another shape, Error(usage) if the run's settings differ from those it was saved with.
void resume_checkpoint(const std::filesystem::path& checkpoint, const RunSettings& settings,
                       const ParameterStore& parameters, optim::Optimizer& optimizer, Accumulator& accumulator);
// The model's weights alone.
void load_weights(const std::filesystem::path& checkpoint, const ParameterStore& parameters);

// A JSON file's content. Throws Error(no_input) or Error(bad_data).
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace accrue::train
