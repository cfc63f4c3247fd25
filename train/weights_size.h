// Whether a file of weights is large enough for a model that another file describes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "train/safetensors.h"

namespace accrue::train {

// Before the model is made, whose size a hostile config.json chooses: throws Error(bad_data) naming both files and both
// numbers if the floating-point tensors hold fewer elements than the model has parameters. What passes allocates, for
// weights, gradients and optimizer, a small multiple of the weights file's size.
void require_weights_for(std::int64_t parameters, std::string_view config, std::span<const SafetensorsEntry> entries,
                         std::string_view weights);

}  // namespace accrue::train
