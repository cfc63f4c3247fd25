// Text from a trained model.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "nn/gpt.h"

namespace accrue::train {

struct SamplingOptions {
  std::int64_t tokens = 200;
  double temperature = 0.8;  // divides the logits; 0 takes the most likely token
  std::int64_t top_k = 0;    // choose among the k most likely; 0: all
  std::uint64_t seed = 0;
};

// A token drawn from softmax(logits / temperature) over the top k; `uniform` in [0, 1) decides. Equal logits rank by
// token.
std::int32_t choose_token(std::span<const float> logits, const SamplingOptions& options, double uniform);

// Continues the prompt, a byte at a time as `emit` receives them. The model sees the last `context` bytes of what there
// is. An empty prompt starts from a newline.
void generate(const nn::Gpt& model, std::string_view prompt, const SamplingOptions& options, Device device,
              const std::function<void(std::string_view)>& emit);

}  // namespace accrue::train
