// The linear layers [rows, in] -> [rows, out] of the models whose training is measured.
#pragma once

#include <cstdint>
#include <vector>

namespace accrue::bench {

struct Layer {
  const char* name;
  std::int64_t rows, out, in;
};

inline const std::vector<Layer> layers = {
    {"gpt_4_4_128/qkv", 768, 384, 128},         {"gpt_4_4_128/projection", 768, 128, 128},
    {"gpt_4_4_128/up", 768, 512, 128},          {"gpt_4_4_128/down", 768, 128, 512},
    {"gpt_4_4_128/head", 768, 65, 128},         {"gpt_6_6_384/qkv", 2048, 1152, 384},
    {"gpt_6_6_384/projection", 2048, 384, 384}, {"gpt_6_6_384/up", 2048, 1536, 384},
    {"gpt_6_6_384/down", 2048, 384, 1536},      {"gpt_6_6_384/head", 2048, 65, 384},
    {"gpt2_124m/qkv", 256, 2304, 768},          {"gpt2_124m/projection", 256, 768, 768},
    {"gpt2_124m/up", 256, 3072, 768},           {"gpt2_124m/down", 256, 768, 3072},
    {"gpt2_124m/head", 256, 50257, 768},
};

}  // namespace accrue::bench
