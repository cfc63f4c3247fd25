#include "train/unequal_targets.h"

#include <span>
#include <vector>

namespace accrue::train {

void mask_targets(const Batch& batch, std::int64_t first_sample) {
  std::vector<std::int32_t> targets = batch.targets.to_vector<std::int32_t>();
  const auto samples = static_cast<std::size_t>(batch.samples()), first = static_cast<std::size_t>(first_sample);
  const std::size_t each = targets.size() / samples;
  for (std::size_t i = 0; i < samples; ++i) {
    const std::size_t s = first + i;
    const std::size_t kept = s % 8 == 7 ? 0 : each - each * (s % 4) / 4;
    for (std::size_t t = kept; t < each; ++t) targets[i * each + t] = -1;
  }
  batch.targets.copy_from_host(std::span<const std::int32_t>(targets));
}

}  // namespace accrue::train
