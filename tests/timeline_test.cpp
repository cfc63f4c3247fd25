#include "core/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/allocator.h"
#include "kernels/add.h"
#include "tests/testing/sweep.h"

namespace accrue::timeline_test {
namespace {

using testing::devices;

TEST(Timeline, WithoutPointsIsEmpty) {
  for (const Device device : devices()) EXPECT_TRUE(Allocator::of(device).memory().timeline()->seconds().empty());
}

TEST(Timeline, NumbersItsPointsAndBeginsAtTheFirst) {
  for (const Device device : devices()) {
    const auto timeline = Allocator::of(device).memory().timeline();
    const Tensor x = Tensor::zeros({1000}, DType::f32, device);
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(timeline->mark(), i);
      kernels::add({.out = x, .a = x, .b = x});
    }
    const std::vector<double> seconds = timeline->seconds();
    ASSERT_EQ(seconds.size(), 5u);
    EXPECT_EQ(seconds.front(), 0);
    EXPECT_TRUE(std::ranges::is_sorted(seconds));
    EXPECT_GT(seconds.back(), 0);
  }
}

TEST(Timeline, OfTheHostCountsSeconds) {
  HostTimeline timeline;
  timeline.mark();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  timeline.mark();
  EXPECT_GE(timeline.seconds().at(1), 0.02);
  EXPECT_LT(timeline.seconds().at(1), 20);
}

}  // namespace
}  // namespace accrue::timeline_test
