// Attention's values against the definition, and that the bounds of the comparison see what they are for.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "tests/testing/attention_run.h"
#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/instruction_sets.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::attention_reference_test {
namespace {

using namespace testing::attention;

// Checks a case's results and gives them.
Evaluated expect_matches_reference(const Case& c, std::uint64_t seed = 1) {
  SCOPED_TRACE(c.text());
  const Evaluated run(c, seed);
  const Reference expected = reference(c, testing::to_doubles(run.qkv), testing::to_doubles(run.dy));
  EXPECT_TRUE(testing::within(run.y, expected.y, expected.y_bound));
  EXPECT_TRUE(testing::within(run.logsumexp, expected.logsumexp, expected.logsumexp_bound));
  EXPECT_TRUE(testing::within(run.dqkv, expected.dqkv, expected.dqkv_bound));
  return run;
}

void expect_matches_reference_on_cuda(Case c) {
  for (const Target& target : targets()) {
    if (on_cpu(target)) continue;
    c.on = target;
    expect_matches_reference(c);
  }
}

TEST(AttentionValues, ForwardAndBackwardMatchTheDefinition) {
  for (std::int64_t tokens : {1, 2, 31, 32, 33, 64, 100})
    for (std::int64_t head_size : {1, 5, 32, 64})
      for (std::int64_t heads : {1, 3})
        for (std::int64_t batch : {0, 1, 2})
          expect_matches_reference({.batch = batch,
                                    .tokens = tokens,
                                    .heads = heads,
                                    .head_size = head_size,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(head_size))});
}

TEST(AttentionValues, SeveralTilesOfQueriesAndKeysMatchTheDefinition) {
  for (std::int64_t tokens : {128, 129, 191, 257})
    for (std::int64_t head_size : {33, 80})
      expect_matches_reference({.tokens = tokens, .heads = 2, .head_size = head_size, .scale = 0.1f});
}

// Few cases, because the emulated device is slow; but every width that kernels are compiled for, heads that fill it and
// heads that do not, heads that only the kernels without tensor cores take, and all the ways in which a last tile may
// end.
TEST(AttentionValues, HeadsOfEverySizeMatchTheDefinitionOnCuda) {
  expect_matches_reference_on_cuda({.batch = 0, .tokens = 5, .heads = 2, .head_size = 8});
  expect_matches_reference_on_cuda({.batch = 2, .tokens = 1, .heads = 3, .head_size = 8});
  expect_matches_reference_on_cuda({.tokens = 2, .heads = 2, .head_size = 1});
  expect_matches_reference_on_cuda({.tokens = 31, .heads = 3, .head_size = 5});
  expect_matches_reference_on_cuda({.batch = 2, .tokens = 33, .heads = 2, .head_size = 32, .scale = 0.2f});
  expect_matches_reference_on_cuda({.tokens = 129, .heads = 1, .head_size = 16, .scale = 0.25f});
  expect_matches_reference_on_cuda({.tokens = 64, .heads = 1, .head_size = 64, .scale = 0.125f});
  expect_matches_reference_on_cuda({.tokens = 65, .heads = 1, .head_size = 80, .scale = 0.1f});
  expect_matches_reference_on_cuda({.tokens = 40, .heads = 1, .head_size = 96, .scale = -0.1f});
  expect_matches_reference_on_cuda({.tokens = 70, .heads = 1, .head_size = 128, .scale = 0.1f});
  expect_matches_reference_on_cuda({.tokens = 20, .heads = 2, .head_size = 130, .dropout_p = 0.3f, .scale = 0.1f});
  expect_matches_reference_on_cuda({.tokens = 9, .heads = 1, .head_size = 256, .scale = 0.06f});
}

TEST(AttentionValues, DropoutDropsTheProbabilitiesThatTheCounterNames) {
  for (std::int64_t tokens : {1, 31, 64, 133})
    for (float p : {0.1f, 0.75f})
      expect_matches_reference({.batch = 2, .tokens = tokens, .heads = 3, .head_size = 5, .dropout_p = p});
  expect_matches_reference_on_cuda({.batch = 2, .tokens = 31, .heads = 2, .head_size = 5, .dropout_p = 0.75f});
  expect_matches_reference_on_cuda({.tokens = 70, .heads = 2, .head_size = 8, .dropout_p = 0.1f});
  expect_matches_reference_on_cuda({.tokens = 66, .heads = 1, .head_size = 100, .dropout_p = 0.5f, .scale = 0.1f});
}

// Without gradients of scores that could hide it: all probabilities of a query are equal, values and dy are unit
// vectors, so an element of y, and one of dv, is not zero exactly where a probability is kept.
TEST(AttentionValues, DropoutHasTheSameMaskOnEveryTarget) {
  const auto kept = [](const Tensor& tensor) {
    std::vector<bool> result;
    for (double value : testing::to_doubles(tensor)) result.push_back(value != 0);
    return result;
  };
  const std::int64_t tokens = 70, heads = 2, batch = 2;
  std::vector<bool> masks[2];
  for (const Target& target : targets()) {
    const Case c = {
        .batch = batch, .tokens = tokens, .heads = heads, .head_size = tokens, .dropout_p = 0.4f, .on = target};
    SCOPED_TRACE(c.text());
    std::vector<float> qkv(static_cast<std::size_t>(c.qkv_shape().numel())), dy(qkv.size() / 3);
    for (std::int64_t row = 0; row < batch * tokens; ++row)
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t at = head * tokens + row % tokens;
        qkv[static_cast<std::size_t>((3 * row + 2) * c.channels() + at)] = 1;
        dy[static_cast<std::size_t>(row * c.channels() + at)] = 1;
      }
    const Evaluated run(c, testing::tensor_of(qkv, c.qkv_shape(), target.dtype, target.device),
                        testing::tensor_of(dy, c.y_shape(), target.dtype, target.device));
    const std::vector<bool> y = kept(run.y), dqkv = kept(run.dqkv);
    if (masks[0].empty()) masks[0] = y, masks[1] = dqkv;
    EXPECT_EQ(y, masks[0]);
    EXPECT_EQ(dqkv, masks[1]);
    EXPECT_GT(std::count(y.begin(), y.end(), true), batch * heads * tokens * tokens / 4);
    EXPECT_LT(std::count(y.begin(), y.end(), true), batch * heads * tokens * tokens * 3 / 8);
  }
}

TEST(AttentionValues, RandomShapesMatchTheDefinition) {
  EXPECT_TRUE(rc::check("attention", [] {
    const Case c = {.batch = *rc::gen::inRange<std::int64_t>(0, 4),
                    .tokens = *rc::gen::inRange<std::int64_t>(1, 150),
                    .heads = *rc::gen::inRange<std::int64_t>(1, 4),
                    .head_size = *rc::gen::inRange<std::int64_t>(1, 50),
                    .dropout_p = static_cast<float>(*rc::gen::inRange(0, 10)) / 10,
                    .scale = static_cast<float>(*rc::gen::inRange(1, 5)) / 10};
    expect_matches_reference(c, *rc::gen::inRange<std::uint64_t>(0, 1000));
    RC_ASSERT(!::testing::Test::HasFailure());
  }));
}

// The definition for some queries only: for all it would take a minute.
TEST(AttentionValues, ManyTokensMatchTheDefinition) {
  for (const Target& target : targets())
    for (std::int64_t tokens : on_cpu(target) ? std::vector<std::int64_t>{1000, 4097} : std::vector<std::int64_t>{200})
      for (float p : {0.0f, 0.1f}) {
        const Case c = {.tokens = tokens, .heads = 1, .head_size = 16, .dropout_p = p, .scale = 0.25f, .on = target};
        SCOPED_TRACE(c.text());
        const Evaluated run(c, 1, Evaluated::Passes::forward);
        const Doubles qkv = testing::to_doubles(run.qkv);
        const Doubles y = testing::to_doubles(run.y), logsumexp = testing::to_doubles(run.logsumexp);
        for (std::int64_t q = 0; q < tokens; q += q + 40 < tokens ? 37 : 1) {
          const auto expected = reference_of_query(c, qkv, q);
          const auto row = y.begin() + q * c.head_size;
          ASSERT_TRUE(testing::within(Doubles(row, row + c.head_size), expected.y, expected.y_bound)) << "query " << q;
          ASSERT_NEAR(logsumexp[static_cast<std::size_t>(q)], expected.logsumexp, expected.logsumexp_bound);
        }
      }
}

// The width of a strip, and so the cut of the diagonal, is the instruction set's.
TEST(AttentionValues, EveryInstructionSetMatchesTheDefinition) {
  testing::for_each_instruction_set([] {
    for (std::int64_t tokens : {7, 64, 133})
      for (float p : {0.0f, 0.25f})
        expect_matches_reference({.batch = 2, .tokens = tokens, .heads = 2, .head_size = 33, .dropout_p = p});
  });
}

TEST(AttentionValues, NoTokensAreAllowed) {
  for (const Target& target : targets())
    expect_matches_reference({.batch = 2, .tokens = 0, .heads = 2, .head_size = 4, .on = target});
}

// Scores of several hundred and thousand: e^score overflows, so only a softmax that subtracts the maximum survives. On
// the grid the scores themselves are exact; otherwise their rounding errors would be the result's, many per cent.
Case large_scores(float deviation, float offset = 0) {
  return {
      .tokens = 100, .heads = 2, .head_size = 32, .scale = 1, .deviation = deviation, .offset = offset, .grid = 0.125f};
}

TEST(AttentionValues, LargeScoresAreStable) {
  for (const Target& target : targets())
    for (Case c : {large_scores(10), large_scores(30), large_scores(0.5f, 32)}) {
      c.on = target;
      if (!on_cpu(target)) c.heads = 1;
      for (double y : testing::to_doubles(expect_matches_reference(c).y)) ASSERT_TRUE(std::isfinite(y));
    }
}

// The bounds must not let a wrong gradient pass: each case's result is right, and after any of the changes it is not.
const std::vector<Case> bounded_cases = {{.tokens = 257, .heads = 2, .head_size = 80, .scale = 0.1f},
                                         {.tokens = 257, .heads = 2, .head_size = 33, .dropout_p = 0.25f},
                                         {.batch = 2, .tokens = 33, .heads = 3, .head_size = 5},
                                         large_scores(0.5f, 32)};

struct Compared {
  Case c;
  Doubles qkv, dy, y, dqkv;
  Reference expected;

  explicit Compared(const Case& of) : c(of) {
    const Evaluated run(c);
    qkv = testing::to_doubles(run.qkv), dy = testing::to_doubles(run.dy);
    y = testing::to_doubles(run.y), dqkv = testing::to_doubles(run.dqkv);
    expected = reference(c, qkv, dy);
  }
  // 0, 1, 2: an element of dq, dk, dv.
  std::int64_t part_of(std::size_t i) const { return static_cast<std::int64_t>(i) / c.channels() % 3; }
  bool within_bounds(const Doubles& gradients) const {
    return testing::within(gradients, expected.dqkv, expected.dqkv_bound);
  }
};

TEST(AttentionValues, BoundsSeeAFactorOfOneThousandth) {
  std::vector<Case> cases = bounded_cases;
  cases.push_back(large_scores(10));  // almost all probabilities are 0 or 1, so only few gradients are not 0
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text());
    const Compared run(c);
    ASSERT_TRUE(run.within_bounds(run.dqkv));
    for (double factor : {0.999, 1.001}) {
      Doubles y = run.y;
      for (double& value : y) value *= factor;
      EXPECT_FALSE(testing::within(y, run.expected.y, run.expected.y_bound)) << factor;
      for (std::int64_t part : {0, 1, 2}) {
        Doubles changed = run.dqkv;
        for (std::size_t i = 0; i < changed.size(); ++i)
          if (run.part_of(i) == part) changed[i] *= factor;
        EXPECT_FALSE(run.within_bounds(changed)) << "part " << part << " times " << factor;
      }
    }
  }
}

// In the half dtypes a result's own rounding hides more: what must be seen are several of those.
TEST(AttentionValues, BoundsOfHalfDtypesSeeSeveralRoundings) {
  for (const Target& target : targets()) {
    if (target.dtype == DType::f32) continue;
    const Case c = {.tokens = 70, .heads = 1, .head_size = 16, .scale = 0.25f, .on = target};
    SCOPED_TRACE(c.text());
    const Compared run(c);
    ASSERT_TRUE(run.within_bounds(run.dqkv));
    for (double factor : {1 - 8 * testing::unit_roundoff(target.dtype), 1 + 8 * testing::unit_roundoff(target.dtype)}) {
      Doubles y = run.y;
      for (double& value : y) value *= factor;
      EXPECT_FALSE(testing::within(y, run.expected.y, run.expected.y_bound)) << factor;
      for (std::int64_t part : {0, 1, 2}) {
        Doubles changed = run.dqkv;
        for (std::size_t i = 0; i < changed.size(); ++i)
          if (run.part_of(i) == part) changed[i] *= factor;
        EXPECT_FALSE(run.within_bounds(changed)) << "part " << part << " times " << factor;
      }
    }
  }
}

TEST(AttentionValues, BoundsSeeATileThatIsMissing) {
  for (const Case& c : bounded_cases) {
    SCOPED_TRACE(c.text());
    const Compared run(c);
    for (std::int64_t first = 0; first < c.tokens; first += 32) {
      const Doubles of_queries = reference(c, run.qkv, run.dy, {.first_query = first, .last_query = first + 32}).dqkv;
      const Doubles of_keys = reference(c, run.qkv, run.dy, {.first_key = first, .last_key = first + 32}).dqkv;
      const auto expect_seen = [&](std::int64_t part, const Doubles& missing) {
        Doubles changed = run.dqkv;
        for (std::size_t i = 0; i < changed.size(); ++i)
          if (run.part_of(i) == part) changed[i] -= missing[i];
        EXPECT_FALSE(run.within_bounds(changed)) << "part " << part << " without the tile at " << first;
      };
      expect_seen(0, of_keys);
      expect_seen(1, of_queries);
      expect_seen(2, of_queries);
    }
  }
}

TEST(AttentionValues, BackwardMatchesFiniteDifferences) {
  for (Device device : testing::devices())
    for (float p : {0.0f, 0.3f}) {
      const Case c = {.batch = 2, .tokens = 5, .heads = 2, .head_size = 3, .dropout_p = p, .on = {device}};
      SCOPED_TRACE(c.text());
      const Evaluated run(c);
      const Doubles qkv = testing::to_doubles(run.qkv), dy = testing::to_doubles(run.dy);
      const auto loss = [&](const Doubles& x) {
        const Doubles y = reference(c, x, dy).y;
        double sum = 0;
        for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
        return sum;
      };
      Doubles bounds = reference(c, qkv, dy).dqkv_bound;
      // The differences' own error: the reference rounds a sum of |dy y| (about 100 operations deep) at 2^-53 and
      // divides by h = 1e-3; truncation is of the order h^4 = 1e-12 times fifth derivatives, which the product of a
      // few factors near 1 keeps below 1e3.
      double magnitude = 0;
      const Doubles y = testing::to_doubles(run.y);
      for (std::size_t i = 0; i < y.size(); ++i) magnitude += std::abs(y[i] * dy[i]);
      for (double& bound : bounds) bound += 100 * 0x1p-53 * magnitude / 1e-3 + 1e-9;
      EXPECT_TRUE(testing::within(run.dqkv, testing::numeric_gradient(loss, qkv), bounds));
    }
}

}  // namespace
}  // namespace accrue::kernels::attention_reference_test
