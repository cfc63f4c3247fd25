#include "train/profile_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace accrue::train::profile_trace_test {
namespace {

// A call with one inside it, and one behind it; none of the times is a whole number of nanoseconds.
const WindowProfile profile{
    .window = 4,
    .of_process = 3,
    .micro_batches = 2,
    .samples = 24,
    .recording = {
        .seconds = 0.01 / 3,
        .calls = {
            {.name = "outer", .begin = 0.001 / 3, .end = 0.007 / 3, .self = 0.001, .cost = {}},
            {.name = "inner", .begin = 0.001 / 3, .end = 0.007 / 3, .self = 0.001, .cost = {.flop = 3, .bytes = 8}},
            {.name = "next", .begin = 0.007 / 3, .end = 0.01 / 3, .self = 0.001, .cost = {.flop = 0, .bytes = 5}}}}};

nlohmann::json calls_of(const nlohmann::json& trace) {
  nlohmann::json calls = nlohmann::json::array();
  for (const nlohmann::json& event : trace.at("traceEvents"))
    if (event.at("ph") == "X") calls.push_back(event);
  return calls;
}

TEST(ProfileTrace, IsJsonWithACompleteEventForEachCallInsideThatOfTheWindow) {
  const nlohmann::json trace = nlohmann::json::parse(profile_trace(profile, {}, "cpu, 2 threads"));
  const nlohmann::json calls = calls_of(trace);
  ASSERT_EQ(calls.size(), 4u);
  EXPECT_EQ(calls[0].at("name"), "window 4");
  EXPECT_EQ(calls[2].at("name"), "inner");
  EXPECT_EQ(calls[2].at("args"), (nlohmann::json{{"flop", 3.0}, {"bytes", 8.0}}));
  EXPECT_EQ(trace.at("otherData").at("device"), "cpu, 2 threads");
  EXPECT_EQ(trace.at("otherData").at("samples"), 24);
}

TEST(ProfileTrace, NestsEventsAlsoOnceTheirTimesAreRounded) {
  const nlohmann::json calls = calls_of(nlohmann::json::parse(profile_trace(profile, {}, "cpu")));
  const auto begin = [&](std::size_t i) { return std::llround(1e3 * calls[i].at("ts").get<double>()); };
  const auto end = [&](std::size_t i) { return begin(i) + std::llround(1e3 * calls[i].at("dur").get<double>()); };
  EXPECT_EQ(begin(0), 0);
  for (std::size_t i = 1; i < calls.size(); ++i) EXPECT_LE(end(i), end(0));
  EXPECT_LE(begin(1), begin(2));
  EXPECT_LE(end(2), end(1));
  EXPECT_LE(end(1), begin(3));
}

}  // namespace
}  // namespace accrue::train::profile_trace_test
