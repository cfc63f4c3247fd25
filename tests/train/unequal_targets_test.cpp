#include "train/unequal_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/testing/sweep.h"

namespace accrue::train {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr std::int64_t targets_each = 8;

// The targets that samples first, first + 1, … of a window keep.
std::vector<std::int64_t> kept_targets(std::int64_t first, std::int64_t samples, Device device) {
  const Shape shape{samples, targets_each};
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(shape.numel()), 5);
  const Batch batch{.inputs = Tensor::from<std::int32_t>(tokens, shape, device),
                    .targets = Tensor::from<std::int32_t>(tokens, shape, device)};
  mask_targets(batch, first);
  EXPECT_THAT(batch.inputs.to_vector<std::int32_t>(), Each(5));
  std::vector<std::int64_t> kept(static_cast<std::size_t>(samples));
  const auto targets = batch.targets.to_vector<std::int32_t>();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    EXPECT_TRUE(targets[i] == 5 || targets[i] == -1) << targets[i];
    // What is lost is at the end.
    const bool first_or_after_kept = i % targets_each == 0 || targets[i - 1] == 5;
    EXPECT_TRUE(targets[i] == -1 || first_or_after_kept) << i;
    kept[i / targets_each] += targets[i] == 5 ? 1 : 0;
  }
  return kept;
}

TEST(UnequalTargets, LoseQuartersAndEveryEighthSampleAll) {
  for (const Device device : accrue::testing::devices())
    EXPECT_THAT(kept_targets(0, 10, device), ElementsAre(8, 6, 4, 2, 8, 6, 4, 0, 8, 6));
}

TEST(UnequalTargets, AreThoseOfTheSampleWhateverBatchItIsIn) {
  for (const Device device : accrue::testing::devices()) {
    EXPECT_THAT(kept_targets(5, 3, device), ElementsAre(6, 4, 0));
    EXPECT_THAT(kept_targets(15, 1, device), ElementsAre(0));
    EXPECT_THAT(kept_targets(1'000'003, 2, device), ElementsAre(2, 8));
  }
}

}  // namespace
}  // namespace accrue::train
