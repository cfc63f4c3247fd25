#include "train/batch_plan.h"

#include <gtest/gtest.h>

#include <cctype>
#include <chrono>
#include <limits>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/train/files.h"
#include "train/sampler.h"

namespace accrue::train {

void PrintTo(const BatchPlan& plan, std::ostream* out) { *out << plan.to_string(); }

namespace {

using accrue::testing::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::nullopt_t no = std::nullopt;

TEST(BatchPlan, AnyTwoDefineTheThird) {
  struct Case {
    BatchRequest request;
    BatchPlan plan;
  };
  const std::vector<Case> cases = {
      // one alone: no accumulation
      {{8, no, no}, {8, 1, 8, 1, 8}},
      {{8, no, no, 4}, {8, 1, 32, 4, 8}},
      {{no, no, 32}, {32, 1, 32, 1, 32}},
      {{no, no, 32, 4}, {8, 1, 32, 4, 8}},
      {{1, no, no}, {1, 1, 1, 1, 1}},
      // micro and accumulation
      {{8, 4, no}, {8, 4, 32, 1, 8}},
      {{8, 4, no, 2}, {8, 4, 64, 2, 8}},
      {{1, 1, no}, {1, 1, 1, 1, 1}},
      {{3, 7, no, 5}, {3, 7, 105, 5, 3}},
      // micro and global
      {{8, no, 32}, {8, 4, 32, 1, 8}},
      {{8, no, 64, 2}, {8, 4, 64, 2, 8}},
      {{8, no, 8}, {8, 1, 8, 1, 8}},
      {{1, no, 7}, {1, 7, 7, 1, 1}},
      // accumulation and global
      {{no, 4, 32}, {8, 4, 32, 1, 8}},
      {{no, 4, 64, 2}, {8, 4, 64, 2, 8}},
      {{no, 7, 7}, {1, 7, 7, 1, 1}},
      {{no, 1, 7}, {7, 1, 7, 1, 7}},
      // all three, in agreement
      {{8, 4, 32}, {8, 4, 32, 1, 8}},
      {{8, 4, 64, 2}, {8, 4, 64, 2, 8}},
      {{1, 1, 1}, {1, 1, 1, 1, 1}},
      // ragged
      {{8, no, 30, 1, true}, {8, 4, 30, 1, 6}},
      {{8, no, 32, 1, true}, {8, 4, 32, 1, 8}},
      {{8, no, 9, 1, true}, {8, 2, 9, 1, 1}},
      {{8, no, 60, 2, true}, {8, 4, 60, 2, 6}},
      {{no, 4, 30, 1, true}, {8, 4, 30, 1, 6}},
      {{no, 5, 9, 1, true}, {2, 5, 9, 1, 1}},
      {{no, 4, 10, 1, true}, {3, 4, 10, 1, 1}},
      {{8, 4, 30, 1, true}, {8, 4, 30, 1, 6}},
      {{8, 4, 25, 1, true}, {8, 4, 25, 1, 1}},
      {{8, 4, 32, 1, true}, {8, 4, 32, 1, 8}},
      {{8, 4, no, 1, true}, {8, 4, 32, 1, 8}},
      {{8, no, no, 1, true}, {8, 1, 8, 1, 8}},
      // the bounds
      {{largest_global_batch, no, no}, {largest_global_batch, 1, largest_global_batch, 1, largest_global_batch}},
      {{1, no, largest_global_batch}, {1, largest_global_batch, largest_global_batch, 1, 1}},
  };
  for (const Case& c : cases) EXPECT_EQ(plan_batch(c.request), c.plan) << c.plan.to_string();
}

TEST(BatchPlan, AnImpossibleBatchIsAUsageErrorWithTheNearestChoices) {
  struct Case {
    BatchRequest request;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      // does not divide: choices on both sides
      {{8, no, 30},
       {"--global-batch 30 is no multiple of --micro-batch 8", "--micro-batch 6 or 10", "--global-batch 24 or 32",
        "--ragged"}},
      {{7, no, 48}, {"--micro-batch 6 or 8", "--global-batch 42 or 49"}},
      {{5, no, 7}, {"--micro-batch 1 or 7", "--global-batch 5 or 10"}},
      {{4, no, 36, 2}, {"--micro-batch 3 or 6", "--global-batch 32 or 40", "2 devices"}},
      {{48, no, 64}, {"--micro-batch 32 or 64", "--global-batch 48 or 96"}},
      {{no, 4, 30},
       {"--global-batch 30 is no multiple of --accumulation 4", "--accumulation 3 or 5", "--global-batch 28 or 32",
        "--ragged"}},
      {{no, 3, 64, 2}, {"--accumulation 2 or 4", "--global-batch 60 or 66"}},
      {{no, 5, 7}, {"--accumulation 1 or 7", "--global-batch 5 or 10"}},
      // more micro-batch than global batch; K may not round to 0
      {{8, no, 7},
       {"--micro-batch 8 on 1 device is more than --global-batch 7", "--micro-batch 7", "--global-batch 8"}},
      {{8, no, 8, 2}, {"--micro-batch 4", "--global-batch 16"}},
      {{8, no, 7, 1, true}, {"--micro-batch 7"}},
      {{no, 8, 7}, {"--accumulation 8 leaves no sample", "--accumulation 7", "--global-batch 8"}},
      {{no, 8, 8, 2}, {"--accumulation 4", "--global-batch 16"}},
      {{no, 8, 7, 1, true}, {"--accumulation 7"}},
      // devices
      {{no, no, 30, 4}, {"--global-batch 30 cannot be shared evenly by 4 devices", "--global-batch 28 or 32"}},
      {{no, no, 3, 4}, {"--global-batch 4"}},
      {{2, no, 30, 4}, {"--global-batch 24 or 32"}},
      {{2, no, 30, 4, true}, {"--global-batch 24 or 32"}},
      {{no, 2, 30, 4}, {"--global-batch 24 or 32"}},
      // contradictions
      {{8, 4, 33},
       {"--micro-batch 8 x --accumulation 4 x 1 device = 32", "contradicts --global-batch 33",
        "use --global-batch 32"}},
      {{8, 4, 32, 2}, {"x 2 devices = 64", "contradicts --global-batch 32"}},
      {{8, 4, 31}, {"contradicts --global-batch 31"}},
      {{8, 4, 24, 1, true}, {"contradicts --global-batch 24"}},
      {{8, 4, 33, 1, true}, {"contradicts --global-batch 33"}},
      {{8, 4, 63, 2, true}, {"contradicts --global-batch 63"}},
      {{8, 1, 5, 1, true}, {"contradicts --global-batch 5"}},
      {{8, 4, 8, 1}, {"= 32", "contradicts --global-batch 8"}},
      // ragged splits that do not exist: 9 = 3 + 3 + 3 + 0
      {{no, 4, 9, 1, true}, {"--global-batch 9", "cannot be 4", "--accumulation 3 or 5"}},
      {{no, 7, 12, 1, true}, {"cannot be 7", "--accumulation 6 or 12"}},
      // not enough said
      {{no, no, no}, {"the batch is not given", "--micro-batch"}},
      {{no, 4, no}, {"--accumulation 4 alone", "add --micro-batch or --global-batch"}},
      // below 1
      {{0, no, no}, {"--micro-batch must be at least 1, but is 0"}},
      {{-8, 4, no}, {"--micro-batch must be at least 1, but is -8"}},
      {{8, 0, no}, {"--accumulation must be at least 1, but is 0"}},
      {{8, -1, no}, {"--accumulation must be at least 1, but is -1"}},
      {{8, no, 0}, {"--global-batch must be at least 1, but is 0"}},
      {{no, no, -32}, {"--global-batch must be at least 1, but is -32"}},
      {{8, no, no, 0}, {"the number of devices must be at least 1, but is 0"}},
      {{8, no, no, -1}, {"the number of devices must be at least 1, but is -1"}},
      {{std::numeric_limits<std::int64_t>::min(), no, no}, {"--micro-batch must be at least 1"}},
      // too large, also where the product passes 2^63
      {{std::numeric_limits<std::int64_t>::max(), no, no}, {"--micro-batch 9223372036854775807 is more than"}},
      {{largest_global_batch, 2, no}, {"is more than the 1099511627776 samples"}},
      {{largest_global_batch, largest_global_batch, no}, {"is more than the 1099511627776 samples"}},
      {{largest_global_batch, 1, no, largest_global_batch}, {"is more than the 1099511627776 samples"}},
  };
  for (const Case& c : cases) {
    const std::string message = error_of(ErrorKind::usage, [&] { plan_batch(c.request); });
    for (const std::string& part : c.parts) EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(BatchPlan, ChoicesBelowOneAreNotOffered) {
  EXPECT_THAT(error_of(ErrorKind::usage, [] { plan_batch({no, no, 3, 4}); }), Not(HasSubstr("0 or")));
  EXPECT_THAT(error_of(ErrorKind::usage,
                       [] {
                         plan_batch({2, no, 3});
                       }),
              AllOf(HasSubstr("--micro-batch 1 or 3"), HasSubstr("--global-batch 2 or 4")));
}

TEST(BatchPlan, TheNearestChoicesOfTheLargestBatchesAreFoundQuickly) {
  const auto start = std::chrono::steady_clock::now();
  error_of(ErrorKind::usage, [] { plan_batch({2, no, largest_global_batch - 87}); });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

// Every "--option N" and "--option N or M" of the message's advice must itself make a valid request.
void expect_offered_choices_work(const BatchRequest& request, const std::string& message) {
  const std::size_t advice = message.find("; ");
  ASSERT_NE(advice, std::string::npos) << message;
  std::istringstream words(message.substr(advice + 2));
  std::optional<std::int64_t> BatchRequest::*option = nullptr;
  for (std::string word; words >> word;) {
    if (word == "--ragged") {
      BatchRequest changed = request;
      changed.ragged = true;
      EXPECT_NO_THROW(plan_batch(changed)) << "--ragged was offered by: " << message;
    } else if (word.starts_with("--")) {
      option = word == "--micro-batch"    ? &BatchRequest::micro
               : word == "--accumulation" ? &BatchRequest::accumulation
               : word == "--global-batch" ? &BatchRequest::global
                                          : nullptr;
    } else if (option != nullptr && std::isdigit(static_cast<unsigned char>(word[0]))) {
      BatchRequest changed = request;
      changed.*option = std::stoll(word);
      EXPECT_NO_THROW(plan_batch(changed)) << word << " was offered by: " << message;
    }
  }
}

bool some_split_exists(const BatchRequest& request) {
  for (std::int64_t micro = 1; micro <= 40; ++micro)
    for (std::int64_t accumulation = 1; accumulation <= 40; ++accumulation)
      for (std::int64_t last = request.ragged && accumulation > 1 ? 1 : micro; last <= micro; ++last)
        if (request.micro.value_or(micro) == micro && request.accumulation.value_or(accumulation) == accumulation &&
            request.global == request.world * (micro * (accumulation - 1) + last))
          return true;
  return false;
}

TEST(BatchPlan, AmongAllSmallRequestsPlansObeyTheAlgebraRefusalsAreDueAndOfferedChoicesWork) {
  const auto size = [](std::int64_t value) { return value == 0 ? std::nullopt : std::optional(value); };
  int plans = 0, refusals = 0;
  for (std::int64_t micro = 0; micro <= 9; ++micro)
    for (std::int64_t accumulation = 0; accumulation <= 9; ++accumulation)
      for (std::int64_t global = 1; global <= 20; ++global)
        for (std::int64_t world = 1; world <= 3; ++world)
          for (const bool ragged : {false, true}) {
            const BatchRequest request{size(micro), size(accumulation), global, world, ragged};
            try {
              const BatchPlan plan = plan_batch(request);
              ++plans;
              ASSERT_EQ(request.micro.value_or(plan.micro), plan.micro);
              ASSERT_EQ(request.accumulation.value_or(plan.accumulation), plan.accumulation);
              ASSERT_EQ(plan.global, global);
              ASSERT_TRUE(plan.last_micro >= 1 && plan.last_micro <= plan.micro);
              ASSERT_TRUE(ragged || plan.last_micro == plan.micro);
              ASSERT_EQ((plan.micro * (plan.accumulation - 1) + plan.last_micro) * world, global);
              const std::vector<MicroBatch> split = micro_batches(plan.per_device(), plan.micro);
              ASSERT_EQ(static_cast<std::int64_t>(split.size()), plan.accumulation);
              ASSERT_EQ(split.back().count, plan.last_micro);
            } catch (const Error& error) {
              ++refusals;
              const std::string message = error.what();
              ASSERT_EQ(error.kind(), ErrorKind::usage);
              ASSERT_FALSE(some_split_exists(request)) << message;
              expect_offered_choices_work(request, message);
            }
          }
  EXPECT_GT(plans, 500);
  EXPECT_GT(refusals, 500);
}

TEST(BatchPlan, PrintsItself) {
  EXPECT_EQ(plan_batch({8, no, 64, 2}).to_string(), "global batch 64 = micro-batch 8 x accumulation 4 x 2 devices");
  EXPECT_EQ(plan_batch({8, no, 30, 1, true}).to_string(),
            "global batch 30 = micro-batch 8 x accumulation 4 x 1 device (the last micro-batch has 6)");
}

}  // namespace
}  // namespace accrue::train
