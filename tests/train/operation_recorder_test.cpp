#include "train/operation_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/testing/compare.h"

namespace accrue::train::operation_recorder_test {
namespace {

using kernels::ObservedCall;
using testing::error_message;
using ::testing::HasSubstr;

// A second passes between two points.
class CountingTimeline final : public Timeline {
 public:
  explicit CountingTimeline(std::size_t fails_at = 1000) : fails_at_(fails_at) {}
  std::size_t mark() override {
    if (points_ == fails_at_) throw std::runtime_error("no more points");
    return points_++;
  }
  std::vector<double> seconds() override {
    std::vector<double> all;
    for (std::size_t i = 0; i < points_; ++i) all.push_back(static_cast<double>(i));
    return all;
  }

 private:
  std::size_t fails_at_, points_ = 0;
};

void expect_call(const OperationCall& call, std::string_view name, double begin, double end, double self, double flop) {
  EXPECT_EQ(call.name, name);
  EXPECT_EQ(call.begin, begin);
  EXPECT_EQ(call.end, end);
  EXPECT_EQ(call.self, self);
  EXPECT_EQ(call.cost.flop, flop);
}

TEST(OperationRecorder, RecordsCallsInTheirOrder) {
  OperationRecorder recorder(std::make_unique<CountingTimeline>());
  for (const char* name : {"a", "b"}) const ObservedCall call(name, {.flop = 7, .bytes = 9});
  const Recording recording = recorder.finish();
  EXPECT_EQ(recording.seconds, 5);
  ASSERT_EQ(recording.calls.size(), 2u);
  expect_call(recording.calls[0], "a", 1, 2, 1, 7);
  expect_call(recording.calls[1], "b", 3, 4, 1, 7);
  EXPECT_EQ(recording.calls[1].cost.bytes, 9);
}

TEST(OperationRecorder, CountsTimeAndCostOfNestedCallsOnce) {
  OperationRecorder recorder(std::make_unique<CountingTimeline>());
  {
    const ObservedCall outer("outer", {.flop = 100});  // at 1
    {
      const ObservedCall middle("middle", {.flop = 60});  // at 2
      const ObservedCall inner("inner", {.flop = 5});     // from 3 to 4; the middle ends at 5
    }
    const ObservedCall second("second", {.flop = 6});  // from 6 to 7; the outer ends at 8
  }
  const Recording recording = recorder.finish();
  ASSERT_EQ(recording.calls.size(), 4u);
  expect_call(recording.calls[0], "outer", 1, 8, 7 - 3 - 1, 0);
  expect_call(recording.calls[1], "middle", 2, 5, 3 - 1, 0);
  expect_call(recording.calls[2], "inner", 3, 4, 1, 5);
  expect_call(recording.calls[3], "second", 6, 7, 1, 6);
}

TEST(OperationRecorder, HearsNothingOnceItHasFinishedOrIsGone) {
  {
    OperationRecorder recorder(std::make_unique<CountingTimeline>());
    recorder.finish();
    EXPECT_EQ(kernels::operation_observer(), nullptr);
  }
  { const OperationRecorder recorder(std::make_unique<CountingTimeline>()); }
  EXPECT_EQ(kernels::operation_observer(), nullptr);
}

TEST(OperationRecorder, IsAlone) {
  const OperationRecorder recorder(std::make_unique<CountingTimeline>());
  EXPECT_THAT(error_message([] { OperationRecorder second(std::make_unique<CountingTimeline>()); }),
              HasSubstr("observed already"));
  EXPECT_EQ(kernels::operation_observer(), &recorder);
}

TEST(OperationRecorder, KeepsWhatWentWrongAtTheEndOfACallForItsOwnEnd) {
  OperationRecorder recorder(std::make_unique<CountingTimeline>(2));
  { const ObservedCall call("a"); }
  EXPECT_THROW(recorder.finish(), std::runtime_error);
  EXPECT_EQ(kernels::operation_observer(), nullptr);
}

TEST(OperationRecorder, LetsNoCallBeginThatItCannotTime) {
  OperationRecorder recorder(std::make_unique<CountingTimeline>(1));
  EXPECT_THROW(ObservedCall("a"), std::runtime_error);
  EXPECT_THROW(recorder.finish(), std::runtime_error);  // its own point
}

}  // namespace
}  // namespace accrue::train::operation_recorder_test
