#include "train/window_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/allocator.h"
#include "tests/testing/sweep.h"
#include "train/profile_table.h"

namespace accrue::train::window_profile_test {
namespace {

using testing::devices;
using ::testing::HasSubstr;

// 10 GFLOP/s and 2 GB/s.
const MachinePeaks peaks{.product_flop = 10e9, .other_flop = 10e9, .copied_bytes = 2e9, .why_unknown = {}};

// Half a second, of which a tenth is outside; "wrap" has the first "product" inside.
WindowProfile profile() {
  return {
      .window = 4,
      .of_process = 3,
      .micro_batches = 2,
      .samples = 24,
      .recording = {
          .seconds = 0.5,
          .calls = {{.name = "copy", .begin = 0, .end = 0.1, .self = 0.1, .cost = {.flop = 0, .bytes = 1e8}},
                    {.name = "wrap", .begin = 0.1, .end = 0.25, .self = 0.05, .cost = {}},
                    {.name = "product", .begin = 0.1, .end = 0.2, .self = 0.1, .cost = {.flop = 5e8, .bytes = 1e7}},
                    {.name = "product", .begin = 0.3, .end = 0.5, .self = 0.2, .cost = {.flop = 1e9, .bytes = 1e7}}}}};
}

TEST(WindowProfile, ComparesWithTheBoundThatIsNearer) {
  EXPECT_DOUBLE_EQ(ideal_seconds("matmul", {.flop = 10e9, .bytes = 1e9}, peaks), 1);
  EXPECT_DOUBLE_EQ(ideal_seconds("matmul", {.flop = 1e9, .bytes = 4e9}, peaks), 2);
  EXPECT_EQ(ideal_seconds("matmul", {.flop = 1e9, .bytes = 4e9}, MachinePeaks()), 0);
}

TEST(WindowProfile, HoldsMatrixProductsAloneToTheirPeak) {
  const MachinePeaks in_bf16{.product_flop = 20e9, .other_flop = 10e9, .copied_bytes = 2e9, .why_unknown = {}};
  EXPECT_DOUBLE_EQ(ideal_seconds("matmul", {.flop = 20e9, .bytes = 1e9}, in_bf16), 1);
  EXPECT_DOUBLE_EQ(ideal_seconds("attention_forward", {.flop = 20e9, .bytes = 1e9}, in_bf16), 2);
}

TEST(WindowProfile, AddsUpTheCallsOfAnOperation) {
  const std::vector<ProfileRow> rows = profile_rows(profile().recording, peaks);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].name, "product");
  EXPECT_EQ(rows[0].calls, 2);
  EXPECT_DOUBLE_EQ(rows[0].seconds, 0.3);
  EXPECT_EQ(rows[0].cost.flop, 1.5e9);
  EXPECT_EQ(rows[0].cost.bytes, 2e7);
  EXPECT_DOUBLE_EQ(rows[0].ideal_seconds, 0.15);
  EXPECT_EQ(rows[1].name, "copy");
  EXPECT_EQ(rows[2].name, "wrap");
}

TEST(WindowProfile, HasRowsThatAddUpToTheWindow) {
  double sum = 0;
  for (const ProfileRow& row : profile_rows(profile().recording, peaks)) sum += row.seconds;
  EXPECT_NEAR(sum, 0.5, 1e-12);
  const ProfileRow outside = profile_rows(profile().recording, peaks).back();
  EXPECT_EQ(outside.name, "outside of operations");
  EXPECT_NEAR(outside.seconds, 0.05, 1e-12);
}

TEST(ProfileTable, ShowsALineForEachOperationAndTheWindow) {
  EXPECT_EQ(profile_table(profile(), peaks, "cpu, 2 threads"),
            "Profile of window 4, number 3 of this process: 2 micro-batches, 24 samples, 500.0 ms on cpu, 2 threads\n"
            "peak: 10.0 GFLOP/s of products, 2.0 GB/s copied, measured before the training\n"
            "\n"
            "operation               calls   total ms  % of window   GFLOP/s     GB/s  % of peak\n"
            "product                     2    300.000         60.0       5.0      0.1       50.0\n"
            "copy                        1    100.000         20.0         –      1.0       50.0\n"
            "wrap                        1     50.000         10.0         –        –          –\n"
            "outside of operations       –     50.000         10.0         –        –          –\n"
            "the window                  4    500.000        100.0       3.0      0.2       40.0\n");
}

TEST(ProfileTable, SaysWhatIsNotAsUsualOfTheWindow) {
  WindowProfile cold = profile();
  cold.of_process = 1;
  EXPECT_THAT(profile_table(cold, peaks, "cpu"),
              HasSubstr("number 1 of this process (not warm yet: with more --steps"));
  WindowProfile rest = profile();
  rest.samples_before = 12;
  rest.micro_batches = 1;
  rest.samples = 1;
  EXPECT_THAT(profile_table(rest, peaks, "cpu"),
              HasSubstr("Profile of the rest of window 4, number 3 of this process: 1 micro-batch, 1 sample,"));
}

TEST(ProfileTable, TellsThePeakOfTheRestWhereItIsAnother) {
  MachinePeaks in_bf16 = peaks;
  in_bf16.product_flop = 20e9;
  EXPECT_THAT(profile_table(profile(), in_bf16, "cpu"),
              HasSubstr("peak: 20.0 GFLOP/s of products, 10.0 GFLOP/s of the rest, 2.0 GB/s copied, measured"));
}

TEST(ProfileTable, DoesWithoutPeaksThatCouldNotBeMeasured) {
  const std::string table = profile_table(profile(), {.why_unknown = "out of memory"}, "cpu");
  EXPECT_THAT(table, HasSubstr("peak: not measured (out of memory)\n"));
  EXPECT_THAT(table,
              HasSubstr("product                     2    300.000         60.0       5.0      0.1          –\n"));
}

TEST(MachinePeaks, AreMeasuredAndLeaveNoMemoryBehind) {
  for (const Device device : devices()) {
    const MachinePeaks measured = measure_peaks(device, DType::f32);
    EXPECT_GT(measured.product_flop, 1e6);
    EXPECT_GT(measured.copied_bytes, 1e6);
    EXPECT_EQ(measured.why_unknown, "");
    EXPECT_LT(Allocator::of(device).stats().reserved, std::size_t{256} << 20);
  }
}

}  // namespace
}  // namespace accrue::train::window_profile_test
