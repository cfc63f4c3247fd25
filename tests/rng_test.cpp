#include "core/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace accrue::rng_test {
namespace {

// Vectors published with the Random123 library (kat_vectors, philox4x32 10 rounds).
TEST(Philox, GivesThePublishedWordsForZeros) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0), (Philox4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
}

TEST(Philox, GivesThePublishedWordsForAllOnes) {
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, ~std::uint64_t{0}),
            (Philox4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Philox, GivesThePublishedWordsForTheDigitsOfPi) {
  // The key's words are a4093822 (low) and 299f31d0 (high).
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822u),
            (Philox4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Uniform, CoversZeroToBelowOne) {
  EXPECT_EQ(uniform(0), 0.0f);
  EXPECT_EQ(uniform(0xff), 0.0f);  // the lower eight bits are dropped, never rounded up
  EXPECT_EQ(uniform(0x80000000u), 0.5f);
  EXPECT_EQ(uniform(~0u), 1.0f - 0x1p-24f);
}

// The numbers are fixed by the seed, so these checks cannot flicker; five standard errors is what chance would allow.
struct Moments {
  double mean = 0, variance = 0, kurtosis = 0;
};

template <class Draw>
Moments moments_of(int quads, Draw&& draw) {
  std::vector<double> values;
  for (int i = 0; i < quads; ++i) {
    const Philox4 words = philox4x32({static_cast<std::uint32_t>(i), 0, 0, 0}, 42);
    draw(words, values);
  }
  Moments moments;
  const auto n = static_cast<double>(values.size());
  for (double v : values) moments.mean += v / n;
  for (double v : values) moments.variance += (v - moments.mean) * (v - moments.mean) / n;
  for (double v : values) moments.kurtosis += std::pow(v - moments.mean, 4) / n / (moments.variance * moments.variance);
  return moments;
}

TEST(Uniform, HasTheMomentsOfTheUniformDistribution) {
  const int quads = 1 << 18;
  const Moments m = moments_of(quads, [](const Philox4& words, std::vector<double>& values) {
    for (std::uint32_t word : words) values.push_back(static_cast<double>(uniform(word)));
  });
  const double n = 4.0 * quads;
  EXPECT_NEAR(m.mean, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  // Var of the sample variance is (mu4 - sigma^4)/n = (1/80 - 1/144)/n.
  EXPECT_NEAR(m.variance, 1.0 / 12, 5 * std::sqrt((1.0 / 80 - 1.0 / 144) / n));
}

TEST(Normal, HasTheMomentsOfTheNormalDistribution) {
  const int quads = 1 << 18;
  const Moments m = moments_of(quads, [](const Philox4& words, std::vector<double>& values) {
    values.push_back(static_cast<double>(normal(words[0], words[1])));
    values.push_back(static_cast<double>(normal(words[2], words[3])));
  });
  const double n = 2.0 * quads;
  EXPECT_NEAR(m.mean, 0, 5 * std::sqrt(1 / n));
  EXPECT_NEAR(m.variance, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(m.kurtosis, 3, 5 * std::sqrt(24 / n));
}

TEST(Normal, IsFiniteAtTheExtremesOfItsWords) {
  for (std::uint32_t a : {0u, 1u, 0x7fffffffu, ~0u})
    for (std::uint32_t b : {0u, 1u, 0x40000000u, 0x80000000u, ~0u}) EXPECT_TRUE(std::isfinite(normal(a, b)));
  EXPECT_EQ(normal(~0u, 0), 0.0f);                                                          // radius sqrt(-2 log 1)
  EXPECT_NEAR(static_cast<double>(normal(0, 0)), std::sqrt(2 * 32 * std::log(2.0)), 1e-6);  // one f32 rounding of 6.66
}

TEST(SampleRandom, DependsOnTheSamplesPlaceInTheWindowNotOnTheMicroBatch) {
  const RandomKey whole{.seed = 7, .window = 3, .first_sample = 0};
  const RandomKey second_half{.seed = 7, .window = 3, .first_sample = 4};
  for (std::uint32_t sample = 0; sample < 4; ++sample)
    EXPECT_EQ(sample_random(whole, 2, 4 + sample, 5), sample_random(second_half, 2, sample, 5));
}

TEST(SampleRandom, DiffersBetweenSeedsWindowsSamplesSitesAndElements) {
  const std::set<Philox4> draws = {sample_random({.seed = 1, .window = 1, .first_sample = 1}, 1, 1, 1),
                                   sample_random({.seed = 2, .window = 1, .first_sample = 1}, 1, 1, 1),
                                   sample_random({.seed = 1, .window = 2, .first_sample = 1}, 1, 1, 1),
                                   sample_random({.seed = 1, .window = 1, .first_sample = 2}, 1, 1, 1),
                                   sample_random({.seed = 1, .window = 1, .first_sample = 1}, 2, 1, 1),
                                   sample_random({.seed = 1, .window = 1, .first_sample = 1}, 1, 1, 2)};
  EXPECT_EQ(draws.size(), 6u);
}

}  // namespace
}  // namespace accrue::rng_test
