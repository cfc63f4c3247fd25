// GPT-2 as Hugging Face stores it: config.json and safetensors names.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "core/parameter.h"
#include "nn/gpt.h"

namespace accrue::train {

// The keys of Hugging Face's GPT2Config that describe the model.
nlohmann::json gpt_config_json(const nn::GptConfig& config);
// Throws Error(bad_data) for missing or impossible values.
nn::GptConfig read_gpt_config(const std::filesystem::path& config_json);

// The configuration that a weights file's shapes imply; the number of heads is not among them and comes from the user.
nn::GptConfig gpt_config_of_weights(const std::filesystem::path& weights, int heads);
// Loads weights by Hugging Face's names, with or without the "transformer." prefix; attention masks that old files
// carry and a tied lm_head.weight are passed over. Throws Error(bad_data) for anything else that does not fit.
void load_gpt_weights(const std::filesystem::path& weights, const ParameterStore& parameters);

}  // namespace accrue::train
