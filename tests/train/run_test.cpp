#include "train/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace accrue::train {
namespace {

BatchPlan batch(std::int64_t micro, std::int64_t global) { return plan_batch({.micro = micro, .global = global}); }

TEST(DescribeWindows, SaysNothingWhereTheBatchSaysAll) {
  EXPECT_EQ(describe_windows(40, batch(4, 8), PartialWindow::step), "");
  EXPECT_EQ(describe_windows(41, batch(4, 8), PartialWindow::carry), "");
}

TEST(DescribeWindows, SaysWhatTheLastOfAnEpochHolds) {
  EXPECT_EQ(describe_windows(40, batch(4, 16), PartialWindow::step),
            "windows: 3 an epoch of 40 samples; the last holds 8");
}

TEST(DescribeWindows, SaysWhatIsDropped) {
  EXPECT_EQ(describe_windows(17, batch(4, 16), PartialWindow::drop),
            "windows: 1 an epoch of 17 samples; --partial-window drop leaves 1 sample of each epoch out");
}

TEST(DescribeWindows, SaysWhatAWindowHoldsThatTheDataCannotFill) {
  EXPECT_EQ(describe_windows(40, batch(16, 64), PartialWindow::step),
            "windows: 1 an epoch of 40 samples, which are fewer than the global batch: each update sees all 40, in "
            "micro-batches of 16");
  EXPECT_THAT(describe_windows(5, batch(16, 64), PartialWindow::step), ::testing::EndsWith("micro-batches of 5"));
}

TEST(DescribeSpace, WarnsWhereTheCheckpointsDoNotFit) {
  constexpr std::int64_t parameters = 1 << 20;  // 16 MiB a checkpoint
  EXPECT_EQ(describe_space(std::uintmax_t{64} << 20, parameters, 4), "");
  EXPECT_EQ(
      describe_space((std::uintmax_t{64} << 20) - 1, parameters, 4),
      "64.0 MiB are free on the disk of --out, but a checkpoint takes up to 16.0 MiB, and those that are still to "
      "come 64.0 MiB; a smaller --keep needs less");
  EXPECT_EQ(describe_space(std::uintmax_t{20} << 20, parameters, 1), "");
}

}  // namespace
}  // namespace accrue::train
