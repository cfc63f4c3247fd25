// The settings of a run that its checkpoints remember.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "train/data_identity.h"

namespace accrue::train {

struct RunSettings {
  // What gives the data cursor its meaning. A run resumes only with the same: another value would silently show it
  // other samples. The micro-batch is not among them: a window's samples do not depend on how it is split (contract
  // 24), and with the mean over targets neither does its update.
  std::string program;
  DataIdentity data;  // of the whole training data, before a validation part is cut off
  std::uint64_t seed = 0;
  std::int64_t global_batch = 0;
  std::string data_order;
  std::string partial_window;
  std::int64_t dataset_size = 0;

  // What may change from one resume to the next, but not unnoticed.
  std::int64_t steps = 0;
  std::vector<std::pair<std::string, std::string>> rules;  // option and value: {"--clip", "1"}

  friend bool operator==(const RunSettings&, const RunSettings&) = default;
};

// As members of state.json.
void write_settings(nlohmann::json& state, const RunSettings& settings);
// Throws Error(bad_data) naming the file and the member that is missing or of the wrong type.
RunSettings read_settings(const nlohmann::json& state, const std::filesystem::path& file);

// Throws Error(bad_data) for other data, Error(usage) for another setting that the data cursor needs.
void require_same_data_cursor(const RunSettings& saved, const RunSettings& now);
// Of a rule; "unknown" where the settings do not have it.
std::string rule_of(const RunSettings& settings, const std::string& option);
// A line for each setting that may differ and does: "resuming with a changed --clip: 1 → 0.5".
std::vector<std::string> changed_rules(const RunSettings& saved, const RunSettings& now);

}  // namespace accrue::train
