// The config.json of an MLP.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "train/dataset.h"

namespace accrue::train {

inline constexpr std::int64_t mlp_classes = 10;             // of MNIST and Fashion-MNIST
inline constexpr std::int64_t largest_mlp_width = 1 << 20;  // of a layer
inline constexpr std::size_t most_mlp_widths = 1000;        // far more than anybody trains

// What config.json says of an MLP: layer widths and how its inputs are standardised.
struct MlpConfig {
  std::vector<std::int64_t> widths;
  float dropout = 0;
  ImageDataset::Moments moments;
};

nlohmann::json mlp_config_json(const MlpConfig& config);
// `name` stands for the file in errors. Throws Error(bad_data) for missing or impossible values.
MlpConfig parse_mlp_config(const nlohmann::json& config, std::string_view name);

// How many parameters the model will have.
std::int64_t parameter_count(const MlpConfig& config);

// Reads config.json of a checkpoint and compares its size with model.safetensors beside it (require_weights_for), so
// that the model that it describes can be made. Throws Error(no_input) for a missing file, Error(bad_data).
MlpConfig mlp_config_of_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace accrue::train
