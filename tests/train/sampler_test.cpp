#include "train/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::int64_t> epoch_order(const Sampler& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(sampler.dataset_size()));
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = sampler.sample_at(epoch * sampler.dataset_size() + static_cast<std::int64_t>(i));
  return order;
}

std::vector<std::int64_t> ascending(std::int64_t size) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(size));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST(Sampler, EveryEpochHoldsEverySampleOnceForAllSmallSizes) {
  for (std::int64_t size = 1; size <= 130; ++size)
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<std::int64_t> order = epoch_order(Sampler(size, DataOrder::shuffled, 42), epoch);
      std::sort(order.begin(), order.end());
      ASSERT_EQ(order, ascending(size)) << "epoch " << epoch << " of " << size;
    }
}

RC_GTEST_PROP(Sampler, EveryEpochHoldsEverySampleOnce, (std::uint64_t seed)) {
  const auto size = *rc::gen::inRange<std::int64_t>(1, 5000);
  const auto epoch = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40);
  std::vector<std::int64_t> order = epoch_order(Sampler(size, DataOrder::shuffled, seed), epoch);
  std::sort(order.begin(), order.end());
  RC_ASSERT(order == ascending(size));
}

RC_GTEST_PROP(Sampler, EpochsAndSeedsHaveDifferentOrders, (std::uint64_t seed)) {
  // From 32 samples on, two of the 32! orders are the same by chance about never.
  const auto size = *rc::gen::inRange<std::int64_t>(32, 2000);
  const auto epoch = *rc::gen::inRange<std::int64_t>(0, 1000);
  const Sampler sampler(size, DataOrder::shuffled, seed);
  const auto order = epoch_order(sampler, epoch);
  RC_ASSERT(order != epoch_order(sampler, epoch + 1));
  RC_ASSERT(order != epoch_order(Sampler(size, DataOrder::shuffled, seed + 1), epoch));
  RC_ASSERT(order != ascending(size));
  // Adjacent seeds and epochs must not give the same sequence of orders one step shifted either.
  RC_ASSERT(epoch_order(sampler, epoch + 1) != epoch_order(Sampler(size, DataOrder::shuffled, seed + 1), epoch));
}

RC_GTEST_PROP(Sampler, APositionAlwaysGivesTheSameSample, (std::uint64_t seed)) {
  const auto size = *rc::gen::inRange<std::int64_t>(1, std::int64_t{1} << 50);
  const auto position = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 60);
  const Sampler one(size, DataOrder::shuffled, seed), other(size, DataOrder::shuffled, seed);
  one.sample_at(position / 2);  // earlier calls leave no trace
  RC_ASSERT(one.sample_at(position) == other.sample_at(position));
  RC_ASSERT(one.sample_at(position) >= 0 && one.sample_at(position) < size);
}

TEST(Sampler, TheOrderIsPinnedSoThatOldRunsStayReproducible) {
  EXPECT_THAT(epoch_order(Sampler(10, DataOrder::shuffled, 1), 0), ElementsAre(7, 2, 3, 0, 4, 6, 1, 5, 9, 8));
  EXPECT_THAT(epoch_order(Sampler(10, DataOrder::shuffled, 1), 1), ElementsAre(7, 6, 0, 5, 4, 3, 1, 9, 8, 2));
}

TEST(Sampler, AllOrdersOfFewSamplesAreEquallyLikely) {
  struct Case {
    std::int64_t size;
    double orders, chi_squared_at_1e_6;  // upper 1e-6 quantile with orders - 1 degrees of freedom
  };
  for (const Case& c : {Case{2, 2, 23.9}, Case{3, 6, 35.9}, Case{4, 24, 66.0}, Case{5, 120, 205.0}}) {
    constexpr std::int64_t epochs = 24000;
    const Sampler sampler(c.size, DataOrder::shuffled, 7);
    std::map<std::vector<std::int64_t>, double> seen;
    for (std::int64_t epoch = 0; epoch < epochs; ++epoch) ++seen[epoch_order(sampler, epoch)];
    const double expected = static_cast<double>(epochs) / c.orders;
    double chi_squared = (c.orders - static_cast<double>(seen.size())) * expected;
    for (const auto& [order, count] : seen) chi_squared += (count - expected) * (count - expected) / expected;
    EXPECT_LT(chi_squared, c.chi_squared_at_1e_6) << c.size << " samples";
  }
}

TEST(Sampler, NeighboursInTheDataAreNotNeighboursInTheStream) {
  const auto order = epoch_order(Sampler(10000, DataOrder::shuffled, 3), 0);
  // A random permutation has about 2 pairs |a - b| = 1; and its mean distance is a third of the range.
  std::int64_t adjacent = 0, distance = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::int64_t step = std::abs(order[i] - order[i - 1]);
    adjacent += step == 1 ? 1 : 0;
    distance += step;
  }
  EXPECT_LT(adjacent, 12);
  EXPECT_NEAR(static_cast<double>(distance) / 9999.0, 10000.0 / 3.0, 100.0);
}

TEST(Sampler, SequentialPassesThroughTheDataInOrder) {
  const Sampler sampler(3, DataOrder::sequential, 9);
  std::vector<std::int64_t> seen;
  for (std::int64_t position = 0; position < 7; ++position) seen.push_back(sampler.sample_at(position));
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 0, 1, 2, 0));
}

TEST(Sampler, TheLargestSizeAndPositionWork) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  const Sampler sampler(largest, DataOrder::shuffled, 5);
  EXPECT_GE(sampler.sample_at(largest), 0);
  EXPECT_LT(sampler.sample_at(largest - 1), largest);
  EXPECT_NE(sampler.sample_at(0), sampler.sample_at(1));
  EXPECT_EQ(Sampler(1, DataOrder::shuffled, 5).sample_at(largest), 0);
}

TEST(Sampler, RefusesNoDataAndNegativePositions) {
  error_of(ErrorKind::internal, [] { Sampler(0, DataOrder::shuffled, 1); });
  error_of(ErrorKind::internal, [] { Sampler(3, DataOrder::shuffled, 1).sample_at(-1); });
}

// What any plan must satisfy, over enough windows to pass several epochs.
void expect_windows_cover_the_stream(std::int64_t size, std::int64_t batch, PartialWindow partial) {
  SCOPED_TRACE(fmt::format("{} samples, global batch {}, policy {}", size, batch, static_cast<int>(partial)));
  const WindowPlan plan(size, batch, partial);
  std::int64_t next = 0;
  for (std::int64_t index = 0; index < 4 * plan.windows_per_epoch() + 5; ++index) {
    const Window window = plan.window(index);
    const std::int64_t left_in_epoch = size - next % size;
    if (partial == PartialWindow::drop && left_in_epoch < batch) {
      ASSERT_EQ(left_in_epoch, plan.dropped_per_epoch());
      next += left_in_epoch;
    }
    ASSERT_EQ(window.first_position, next);
    ASSERT_EQ(window.count, partial == PartialWindow::step ? std::min(batch, left_in_epoch) : batch);
    next += window.count;
    if (partial != PartialWindow::carry) {
      // No window reaches into the next epoch, and every epoch begins with a window of its own.
      ASSERT_EQ(window.first_position / size, (next - 1) / size);
      ASSERT_EQ(window.first_position / size, index / plan.windows_per_epoch());
      ASSERT_EQ(index % plan.windows_per_epoch() == 0, window.first_position % size == 0);
    }
  }
  if (partial != PartialWindow::drop) {
    ASSERT_EQ(plan.dropped_per_epoch(), 0);
    ASSERT_EQ(plan.windows_per_epoch(), (size + batch - 1) / batch);
  }
}

TEST(WindowPlan, CoversTheStreamForAllSmallSizesAndPolicies) {
  for (std::int64_t size = 1; size <= 24; ++size)
    for (std::int64_t batch = 1; batch <= 60; ++batch) {
      expect_windows_cover_the_stream(size, batch, PartialWindow::step);
      expect_windows_cover_the_stream(size, batch, PartialWindow::carry);
      if (batch <= size) expect_windows_cover_the_stream(size, batch, PartialWindow::drop);
    }
}

RC_GTEST_PROP(WindowPlan, CoversTheStream, ()) {
  const auto size = *rc::gen::inRange<std::int64_t>(1, 3000);
  const auto batch = *rc::gen::inRange<std::int64_t>(1, size + 1);
  const auto partial = *rc::gen::element(PartialWindow::step, PartialWindow::drop, PartialWindow::carry);
  expect_windows_cover_the_stream(size, batch, partial);
  RC_ASSERT(!::testing::Test::HasFatalFailure());
}

TEST(WindowPlan, StepEndsAnEpochWithAShortWindow) {
  const WindowPlan plan(10, 4, PartialWindow::step);
  EXPECT_EQ(plan.windows_per_epoch(), 3);
  EXPECT_EQ(plan.window(2), (Window{8, 2}));
  EXPECT_EQ(plan.window(3), (Window{10, 4}));
}

TEST(WindowPlan, DropSkipsTheTailAndReportsIt) {
  const WindowPlan plan(10, 4, PartialWindow::drop);
  EXPECT_EQ(plan.windows_per_epoch(), 2);
  EXPECT_EQ(plan.dropped_per_epoch(), 2);
  EXPECT_EQ(plan.window(1), (Window{4, 4}));
  EXPECT_EQ(plan.window(2), (Window{10, 4}));
}

TEST(WindowPlan, CarryRunsAcrossEpochs) {
  const WindowPlan plan(10, 4, PartialWindow::carry);
  EXPECT_EQ(plan.window(2), (Window{8, 4}));
  EXPECT_EQ(plan.window(3), (Window{12, 4}));
}

TEST(WindowPlan, AGlobalBatchLargerThanTheEpochIsOneShortWindowOrWraps) {
  const WindowPlan step(3, 10, PartialWindow::step);
  EXPECT_EQ(step.windows_per_epoch(), 1);
  EXPECT_EQ(step.window(0), (Window{0, 3}));
  EXPECT_EQ(step.window(5), (Window{15, 3}));

  const WindowPlan carry(3, 10, PartialWindow::carry);
  EXPECT_EQ(carry.window(1), (Window{10, 10}));
  // The window holds three whole epochs and one sample more: every sample three or four times.
  const Sampler sampler(3, DataOrder::shuffled, 1);
  std::vector<int> times(3);
  for (std::int64_t i = 0; i < 10; ++i) ++times[static_cast<std::size_t>(sampler.sample_at(i))];
  std::sort(times.begin(), times.end());
  EXPECT_THAT(times, ElementsAre(3, 3, 4));
}

TEST(WindowPlan, DroppingEveryWindowIsAUsageErrorWithTheChoices) {
  EXPECT_THAT(error_of(ErrorKind::usage, [] { WindowPlan(10, 32, PartialWindow::drop); }),
              AllOf(HasSubstr("10 samples"), HasSubstr("global batch of 32"), HasSubstr("at most 10"),
                    HasSubstr("step or carry")));
  EXPECT_EQ(WindowPlan(10, 10, PartialWindow::drop).windows_per_epoch(), 1);
}

TEST(WindowPlan, RefusesImpossibleSizesAndPositionsBeyond63Bits) {
  error_of(ErrorKind::internal, [] { WindowPlan(0, 1, PartialWindow::step); });
  error_of(ErrorKind::internal, [] { WindowPlan(1, 0, PartialWindow::step); });
  error_of(ErrorKind::internal, [] { WindowPlan(1, 1, PartialWindow::step).window(-1); });
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  error_of(ErrorKind::internal, [] { WindowPlan(10, 4, PartialWindow::carry).window(largest); });
  error_of(ErrorKind::internal, [] { WindowPlan(10, 10, PartialWindow::step).window(largest); });
}

TEST(MicroBatches, CoverTheWindowWithOnlyTheLastOneSmaller) {
  for (std::int64_t count = 0; count <= 40; ++count)
    for (std::int64_t micro = 1; micro <= 45; ++micro) {
      std::int64_t next = 0;
      const std::vector<MicroBatch> batches = micro_batches(count, micro);
      for (std::size_t i = 0; i < batches.size(); ++i) {
        ASSERT_EQ(batches[i].first, next);
        if (i + 1 < batches.size()) {
          ASSERT_EQ(batches[i].count, micro);
        }
        ASSERT_TRUE(batches[i].count >= 1 && batches[i].count <= micro);
        next += batches[i].count;
      }
      ASSERT_EQ(next, count);
    }
}

TEST(MicroBatches, RefuseImpossibleSizes) {
  error_of(ErrorKind::internal, [] { micro_batches(4, 0); });
  error_of(ErrorKind::internal, [] { micro_batches(-1, 1); });
}

}  // namespace
}  // namespace accrue::train
