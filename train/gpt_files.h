// The weights of a GPT-2 as Hugging Face stores them.
#pragma once

#include <filesystem>

#include "core/parameter.h"
#include "nn/gpt.h"
#include "train/gpt_config.h"

namespace accrue::train {

// The configuration that a weights file's shapes imply; the number of heads is not among them and comes from the user.
// Throws Error(bad_data) for shapes that are no GPT-2's or fewer weights than the model has parameters, Error(usage)
// for heads that do not divide the width.
nn::GptConfig gpt_config_of_weights(const std::filesystem::path& weights, int heads);
// Loads weights by Hugging Face's names, with or without the "transformer." prefix; attention masks that old files
// carry and a tied lm_head.weight are passed over. Throws Error(bad_data) for anything else that does not fit.
void load_gpt_weights(const std::filesystem::path& weights, const ParameterStore& parameters);

}  // namespace accrue::train
