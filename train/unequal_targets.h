// Targets as unequal as real data has them, where a text alone would give every micro-batch the same number.
#pragma once

#include <cstdint>

#include "train/dataset.h"

namespace accrue::train {

// Masks targets of a batch whose samples are first_sample, first_sample + 1, … of a window: sample s loses its last
// s % 4 quarters, 0, 1/4, 1/2 or 3/4 of them, and every eighth sample (7, 15, …) all. Any split of a window so masks
// the same targets.
void mask_targets(const Batch& batch, std::int64_t first_sample);

}  // namespace accrue::train
