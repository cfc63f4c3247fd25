#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "optim/clip.h"
#include "testing/compare.h"

namespace accrue::optim::schedule_test {
namespace {

using namespace accrue::testing;
using kernels::schedule_value;
using kernels::ScheduleKind;
using kernels::ScheduleParameters;

void expect_values(const ScheduleParameters& schedule, const std::vector<std::pair<std::int64_t, double>>& values) {
  // A handful of f64 operations on numbers near 1.
  for (const auto& [update, rate] : values)
    EXPECT_NEAR(schedule_value(schedule, update), rate, 1e-15) << "update " << update;
}

TEST(Schedule, ConstantHoldsThePeakAfterTheWarmUp) {
  expect_values(constant_schedule(0.4), {{0, 0.4}, {1, 0.4}, {1000000, 0.4}});
  expect_values(constant_schedule(0.4, 4), {{0, 0.1}, {1, 0.2}, {3, 0.4}, {4, 0.4}, {99, 0.4}});
}

TEST(Schedule, LinearFallsToTheMinimumAndStaysThere) {
  expect_values(linear_schedule(1, 0.2, 2, 10),
                {{0, 0.5}, {1, 1}, {2, 1}, {3, 0.9}, {6, 0.6}, {9, 0.3}, {10, 0.2}, {11, 0.2}, {500, 0.2}});
}

TEST(Schedule, CosineFallsToTheMinimumAndStaysThere) {
  const double half_root = std::sqrt(0.5);
  expect_values(cosine_schedule(1, 0.2, 2, 10), {{0, 0.5},
                                                 {1, 1},
                                                 {2, 1},
                                                 {4, 0.6 + 0.4 * half_root},
                                                 {6, 0.6},
                                                 {8, 0.6 - 0.4 * half_root},
                                                 {10, 0.2},
                                                 {77, 0.2}});
}

TEST(Schedule, WsdHoldsThePeakThenFallsLinearly) {
  expect_values(wsd_schedule(1, 0.2, 2, 20, 4),
                {{0, 0.5}, {1, 1}, {2, 1}, {15, 1}, {16, 1}, {17, 0.8}, {18, 0.6}, {19, 0.4}, {20, 0.2}, {30, 0.2}});
  expect_values(wsd_schedule(1, 0.2, 0, 5, 0), {{0, 1}, {4, 1}, {5, 0.2}});
}

TEST(Schedule, MayWarmUpForTheWholeRun) {
  expect_values(linear_schedule(1, 0, 4, 4), {{0, 0.25}, {3, 1}, {4, 0}});
  expect_values(cosine_schedule(1, 0, 4, 4), {{3, 1}, {4, 0}});
}

TEST(Schedule, KindsAreKnownByName) {
  for (const ScheduleKind kind :
       {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::wsd})
    EXPECT_EQ(parse_schedule_kind(name_of(kind)), kind);
  EXPECT_EQ(parse_schedule_kind("cosine"), ScheduleKind::cosine);
  EXPECT_EQ(error_message([] { parse_schedule_kind("cosin"); }, ErrorKind::usage),
            "learning-rate schedule: 'cosin' is unknown; use constant, linear, cosine or wsd");
}

TEST(Schedule, RefusesWhatCannotBeASchedule) {
  const auto message = [](const auto& make) { return error_message(make, ErrorKind::usage); };
  const std::string start = "learning-rate schedule: ";
  EXPECT_EQ(message([] { constant_schedule(-1); }),
            start + "the peak rate must be a number that is not negative, but is -1");
  EXPECT_EQ(message([] { constant_schedule(std::nan("")); }),
            start + "the peak rate must be a number that is not negative, but is nan");
  EXPECT_EQ(message([] { linear_schedule(std::numeric_limits<double>::infinity(), 0, 0, 9); }),
            start + "the peak rate must be a number that is not negative, but is inf");
  EXPECT_EQ(message([] { linear_schedule(1, -0.5, 0, 9); }),
            start + "the minimum rate must be a number that is not negative, but is -0.5");
  EXPECT_EQ(message([] { cosine_schedule(1, 2, 0, 9); }),
            start + "the minimum rate must not exceed the peak rate 1, but is 2");
  EXPECT_EQ(message([] { constant_schedule(1, -3); }), start + "the warm-up must not be negative, but is -3 updates");
  EXPECT_EQ(message([] { linear_schedule(1, 0, 0, 0); }),
            start + "linear needs the updates of the whole run, at least 1, but has 0");
  EXPECT_EQ(message([] { cosine_schedule(1, 0, 10, 9); }),
            start + "the warm-up must fit the run of 9 updates, but is 10 updates");
  EXPECT_EQ(message([] { wsd_schedule(1, 0, 3, 9, 7); }),
            start + "the decay must fit the 6 updates that a run of 9 leaves after the warm-up, but is 7 updates");
  EXPECT_EQ(message([] { wsd_schedule(1, 0, 3, 9, -1); }),
            start + "the decay must fit the 6 updates that a run of 9 leaves after the warm-up, but is -1 updates");
}

TEST(Clip, FactorIsOneUpToTheMaximumAndThenItsShareOfTheNorm) {
  EXPECT_EQ(clip_factor(0, 1), 1);
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_EQ(clip_factor(1, 1), 1 / (1 + 1e-6));
  EXPECT_EQ(clip_factor(4, 1), 1 / (4 + 1e-6));
  EXPECT_EQ(clip_factor(4, 0), 1);  // no clipping
  EXPECT_LT(clip_factor(1e30, 1) * 1e30, 1.0000001);
}

TEST(Clip, RefusesAMaximumThatIsNegativeOrNotFinite) {
  EXPECT_EQ(validated_max_norm(1.5), 1.5);
  EXPECT_EQ(validated_max_norm(0), 0);
  EXPECT_EQ(error_message([] { validated_max_norm(-1); }, ErrorKind::usage),
            "gradient clipping: the maximum norm must be a number that is not negative, but is -1");
  EXPECT_EQ(error_message([] { validated_max_norm(std::nan("")); }, ErrorKind::usage),
            "gradient clipping: the maximum norm must be a number that is not negative, but is nan");
}

}  // namespace
}  // namespace accrue::optim::schedule_test
