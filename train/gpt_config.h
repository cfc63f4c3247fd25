// The config.json of a GPT-2, as Hugging Face writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "nn/gpt.h"

namespace accrue::train {

// The keys of Hugging Face's GPT2Config that describe the model.
nlohmann::json gpt_config_json(const nn::GptConfig& config);
// `name` stands for the file in errors. Throws Error(bad_data) for missing or impossible values.
nn::GptConfig parse_gpt_config(const nlohmann::json& config, std::string_view name);

// How many parameters the model will have.
std::int64_t parameter_count(const nn::GptConfig& config);

// Reads config.json of a checkpoint and compares its size with model.safetensors beside it (require_weights_for), so
// that the model that it describes can be made. Throws Error(no_input) for a missing file, Error(bad_data).
nn::GptConfig gpt_config_of_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace accrue::train
