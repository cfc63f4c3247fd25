#include "train/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::ElementsAre;

constexpr double u = unit_roundoff(DType::f32);

TEST(TextDataset, GivesTheSamplesAskedForInTheirOrder) {
  for (const Device device : devices()) {
    const std::vector<std::uint8_t> text = {0,  10, 20, 30, 40,
                                            50, 60, 70, 80};  // two samples of four, each with its next
    const TextDataset data(TokenSamples(text, 4, "text"));
    EXPECT_EQ(data.size(), 2);
    EXPECT_EQ(data.positions_per_sample(), 4);
    const std::vector<std::int64_t> indices = {1, 0, 1};
    const Batch batch = data.batch(indices, device);
    EXPECT_EQ(batch.samples(), 3);
    EXPECT_EQ(batch.inputs.shape(), (Shape{3, 4}));
    EXPECT_EQ(batch.targets.shape(), (Shape{3, 4}));
    EXPECT_THAT(batch.inputs.to_vector<std::int32_t>(), ElementsAre(40, 50, 60, 70, 0, 10, 20, 30, 40, 50, 60, 70));
    // The target of a position is the token after it, the first of the next sample at the end.
    EXPECT_THAT(batch.targets.to_vector<std::int32_t>(), ElementsAre(50, 60, 70, 80, 10, 20, 30, 40, 50, 60, 70, 80));
  }
}

LabelledImages images() {
  return {.count = 3, .rows = 1, .columns = 2, .pixels = {0, 255, 51, 102, 255, 255}, .labels = {7, 0, 9}};
}

TEST(ImageDataset, StandardisesPixelsAndKeepsLabels) {
  for (const Device device : devices()) {
    const ImageDataset data(images(), {.mean = 0.25f, .deviation = 0.5f});
    EXPECT_EQ(data.size(), 3);
    EXPECT_EQ(data.pixels(), 2);
    EXPECT_EQ(data.positions_per_sample(), 1);
    const std::vector<std::int64_t> indices = {2, 0, 1};
    const Batch batch = data.batch(indices, device);
    EXPECT_EQ(batch.inputs.shape(), (Shape{3, 2}));
    EXPECT_THAT(batch.targets.to_vector<std::int32_t>(), ElementsAre(9, 7, 0));
    // (p / 255 - mean) / deviation with four roundings of numbers of at most 2.
    const std::vector<double> expected = {1.5, 1.5, -0.5, 1.5, -0.1, 0.3};
    EXPECT_TRUE(within(batch.inputs, expected, Bound{.absolute = 8 * u}));
  }
}

TEST(ImageDataset, MomentsAreThoseOfAllPixels) {
  const ImageDataset::Moments moments = ImageDataset::moments_of(images());
  // Pixels / 255: 0, 1, 0.2, 0.4, 1, 1: mean 0.6, mean square 3.2 / 6. Computed in double, rounded once.
  EXPECT_NEAR(moments.mean, 0.6, u);
  EXPECT_NEAR(moments.deviation, std::sqrt(3.2 / 6 - 0.36), u);
}

TEST(ImageDataset, StandardisedPixelsHaveMeanZeroAndDeviationOne) {
  const ImageDataset data(images(), ImageDataset::moments_of(images()));
  const std::vector<std::int64_t> indices = {0, 1, 2};
  double mean = 0, squares = 0;
  for (const double value : to_doubles(data.batch(indices, Device::cpu()).inputs))
    mean += value / 6, squares += value * value / 6;
  EXPECT_NEAR(mean, 0, 16 * u);
  EXPECT_NEAR(squares, 1, 16 * u);
}

TEST(ImageDataset, ImagesOfOneColourKeepADeviationThatDivides) {
  LabelledImages flat = images();
  std::fill(flat.pixels.begin(), flat.pixels.end(), std::uint8_t{77});
  EXPECT_EQ(ImageDataset::moments_of(flat).deviation, 1.0f);
}

}  // namespace
}  // namespace accrue::train
