// The sizes that operations are measured at: those of models whose training is measured as a whole, too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/shape.h"

namespace accrue::bench {

// A micro-batch [batch, tokens] of a GPT.
struct Model {
  std::string name;
  std::int64_t batch, tokens, width, heads, vocabulary;

  Shape ids() const { return {batch, tokens}; }
  Shape activations(std::int64_t times_width = 1) const { return {batch, tokens, times_width * width}; }
  std::int64_t rows() const { return batch * tokens; }
  double elements() const { return static_cast<double>(rows() * width); }
};

// What no device takes long over, the emulated one included: shows that a benchmark runs, and nothing else.
inline const Model tiny = {"tiny", 2, 8, 32, 2, 65};

// What no vector and no tile divides: rows that are fewer than many machines' cores, and more.
inline const Model odd_small = {"odd_7x1023", 1, 7, 1023, 3, 1021};
inline const Model odd_large = {"odd_255x1023", 1, 255, 1023, 3, 1021};

// GPT-2 has the micro-batch that fits the device: one that keeps a GPU busy would take the CPU seconds a call.
inline std::vector<Model> gpts(Device device) {
  const Model medium = {"gpt_6_6_384", 8, 256, 384, 6, 256};
  if (device.kind == DeviceKind::cuda) return {tiny, medium, {"gpt2_124m", 8, 1024, 768, 12, 50257}};
  return {tiny, {"gpt_4_4_128", 12, 64, 128, 4, 256}, medium, {"gpt2_124m", 4, 64, 768, 12, 50257}};
}

inline std::vector<Model> models(Device device) {
  std::vector<Model> all = gpts(device);
  all.insert(all.end(), {odd_small, odd_large});
  return all;
}

// A linear layer [rows, in] -> [rows, out].
struct Layer {
  std::string name;
  std::int64_t rows, out, in;

  double flop() const { return 2.0 * static_cast<double>(rows * out * in); }
};

inline std::vector<Layer> layers(const Model& m) {
  const std::int64_t rows = m.rows(), width = m.width;
  return {{"qkv", rows, 3 * width, width},
          {"projection", rows, width, width},
          {"up", rows, 4 * width, width},
          {"down", rows, width, 4 * width},
          {"head", rows, m.vocabulary, width}};
}

}  // namespace accrue::bench
