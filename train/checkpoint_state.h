// The file state.json of a checkpoint: everything about a run that is no tensor.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/check.h"
#include "train/accumulator.h"
#include "train/run_settings.h"
#include "train/trainer_state.h"

namespace accrue::train {

// Of state.json, and with it of the whole checkpoint.
inline constexpr int checkpoint_format = 4;

// Thrown for a whole checkpoint that another version of Accrue wrote.
class OtherFormat : public Error {
  using Error::Error;
};

struct CheckpointState {
  RunSettings settings;
  std::string optimizer;
  Accumulator::State accumulator;  // without the sums of an open window, which are not JSON's numbers: window_file.h
  TrainerState trainer;
};

nlohmann::json state_to_json(const CheckpointState& state);
// Throws Error(bad_data) naming the file and the member that is missing, of the wrong type, or impossible; OtherFormat.
CheckpointState state_from_json(const nlohmann::json& json, const std::filesystem::path& file);

}  // namespace accrue::train
