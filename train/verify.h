// `gpt verify`: shows on the user's own model that splitting a window changes nothing (contract 12).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/gpt.h"
#include "train/accumulator.h"
#include "train/dataset.h"

namespace accrue::train {

// One way of cutting a window: micro-batches of so many samples, so many of them.
struct Split {
  std::int64_t micro = 0;
  std::int64_t accumulation = 0;
  std::int64_t samples() const { return micro * accumulation; }
};

// Parses "1x8,2x4,8x1". Throws Error(usage) naming the part that is wrong, or two splits of different windows.
std::vector<Split> parse_splits(const std::string& text);

// How far a split window is from the unsplit one: ||split - whole|| / ||whole||.
struct SplitDifference {
  Split split;
  double loss = 0;
  double gradient = 0;       // over the whole flat gradient
  double weights = 0;        // after one AdamW update
  std::string worst_tensor;  // the parameter whose own gradient differs most
  double worst_gradient = 0;
  std::size_t peak_bytes = 0;  // device memory of the window
};

struct VerifyOptions {
  nn::GptConfig model;
  std::uint64_t seed = 0;
  Device device;
  // Mask targets so that micro-batches have unequal counts, some none at all: where a mean of means goes wrong.
  bool unequal_targets = true;
  // Of the split windows; the unsplit window they are compared with always divides by its targets.
  Normalisation normalisation = Normalisation::targets;
};

// The relative difference that contract 12 allows between G_K and G_1 in f32. Each of the K additions into the gradient
// rounds; the roundings add up as a random walk, and so beyond a K where they reach the bound it grows with sqrt(K).
double split_equivalence_bound(std::int64_t accumulation);

// Runs the first split.samples() samples of the data through one window under each split.
std::vector<SplitDifference> verify_splits(const Dataset& data, const std::vector<Split>& splits,
                                           const VerifyOptions& options);

}  // namespace accrue::train
