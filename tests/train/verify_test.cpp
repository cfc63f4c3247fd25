#include "train/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "tests/train/files.h"
#include "train/gpt_cli.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ParseSplits, ReadsMicroTimesAccumulation) {
  const std::vector<Split> splits = parse_splits("1x8,2x4,8x1");
  ASSERT_EQ(splits.size(), 3u);
  EXPECT_EQ(splits[1].micro, 2);
  EXPECT_EQ(splits[1].accumulation, 4);
  for (const Split& split : splits) EXPECT_EQ(split.samples(), 8);
}

TEST(ParseSplits, NamesThePartThatIsWrong) {
  for (const std::string part : {"", "x", "2x", "x4", "2", "0x4", "4x0", "-1x4", "2x4x1", "2 x4", "ax4", "2x4 ",
                                 "1000001x1", "99999999999999999999x1"}) {
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { parse_splits(part); }), HasSubstr("'" + part + "'")) << part;
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { parse_splits("1x8," + part); }), HasSubstr("'" + part + "'")) << part;
  }
}

TEST(ParseSplits, AllMustCutTheSameWindow) {
  EXPECT_THAT(error_of(ErrorKind::usage, [] { parse_splits("1x8,2x3"); }),
              AllOf(HasSubstr("2x3 is a window of 6 samples"), HasSubstr("1x8 one of 8")));
}

TEST(VerifySplits, ASmallModelIsWithinTheBoundForEverySplit) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(16, 8), 1, device));
    for (const float dropout : {0.0f, 0.2f}) {
      const auto differences = verify_splits(data, parse_splits("16x1,4x4,1x16"),
                                             {.model = small_gpt(dropout), .seed = 3, .device = device});
      ASSERT_EQ(differences.size(), 3u);
      for (const SplitDifference& d : differences) {
        EXPECT_LE(d.gradient, split_equivalence_bound(d.split.accumulation)) << d.split.accumulation;
        EXPECT_LE(d.loss, logged_loss_bound(device, 16 * 8));
        EXPECT_GE(d.worst_gradient, d.gradient * 0.99);  // the overall error is a mean of the tensors'
      }
      // The unsplit window against itself: the same operations on the same bits.
      EXPECT_EQ(differences[0].loss, 0);
      EXPECT_EQ(differences[0].gradient, 0);
      EXPECT_EQ(differences[0].weights, 0);
      EXPECT_LT(differences[2].peak_bytes, differences[0].peak_bytes);
    }
  }
}

TEST(VerifySplits, FindsAWrongUpdate) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  // The mean of unequal micro-batches' means: off by the inequality of their targets, not by rounding.
  const auto wrong = verify_splits(data, parse_splits("8x1,2x4"),
                                   {.model = small_gpt(), .normalisation = Normalisation::mean_over_micro_batches});
  EXPECT_LE(wrong[0].gradient, split_equivalence_bound(1));  // one micro-batch's mean is the window's
  EXPECT_GT(wrong[1].gradient, 0.01);
  EXPECT_THAT(error_of(ErrorKind::numeric, [&] { print_verification(wrong); }), HasSubstr("2x4"));
  // With equal targets that rule is right.
  const auto right = verify_splits(
      data, parse_splits("2x4"),
      {.model = small_gpt(), .unequal_targets = false, .normalisation = Normalisation::mean_over_micro_batches});
  EXPECT_LE(right[0].gradient, split_equivalence_bound(4));
}

TEST(VerifySplits, AWindowLargerThanTheDataRepeatsIt) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(3, 8), 1));
  verify_splits(data, parse_splits("4x1,2x2"), {.model = small_gpt()});
  EXPECT_THAT(data.shown, ::testing::ElementsAre(0, 1, 2, 0));
}

TEST(VerifySplits, NamesTheTensorThatDiffersMost) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(8, 8), 1));
  const auto differences = verify_splits(data, parse_splits("2x4"), {.model = small_gpt()});
  nn::Gpt model(small_gpt());
  ParameterStore parameters;
  nn::initialize(model, parameters);
  EXPECT_TRUE(parameters.find(differences[0].worst_tensor).defined()) << differences[0].worst_tensor;
}

}  // namespace
}  // namespace accrue::train
