// Bits, threads, non-finite values, memory and errors; the values: attention_reference_test.cpp.
#include "kernels/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/threads.h"
#include "tests/testing/attention_run.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::attention_test {
namespace {

using testing::error_message;
using ::testing::HasSubstr;
using namespace testing::attention;

std::vector<float> floats(const Tensor& tensor) {
  const std::vector<double> values = testing::to_doubles(tensor);  // exact, both ways
  return {values.begin(), values.end()};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(Attention, AnyNumberOfThreadsGivesTheSameBits) {
  for (float p : {0.0f, 0.2f})
    testing::expect_same_bits_for_any_thread_count([&]() -> std::vector<Tensor> {
      const Evaluated run({.batch = 2, .tokens = 200, .heads = 3, .head_size = 16, .dropout_p = p});
      return {run.y, run.logsumexp, run.dqkv};
    });
}

TEST(Attention, TwoRunsHaveTheSameBits) {
  for (const Target& target : targets()) {
    const Case c = {.tokens = 70, .heads = 2, .head_size = 8, .dropout_p = 0.2f, .on = target};
    SCOPED_TRACE(c.text());
    const Evaluated one(c), two(c);
    EXPECT_TRUE(same_bits(floats(one.y), floats(two.y)));
    EXPECT_TRUE(same_bits(floats(one.logsumexp), floats(two.logsumexp)));
    EXPECT_TRUE(same_bits(floats(one.dqkv), floats(two.dqkv)));
  }
}

// A view need not begin where a 16-byte access may. Values, and so bits, are those of operands that do.
TEST(Attention, TakesViewsThatBeginAtAnyElement) {
  for (const Target& target : targets()) {
    const Case c = {.batch = 2, .tokens = 20, .heads = 2, .head_size = 16, .on = target};
    SCOPED_TRACE(c.text());
    const Evaluated aligned(c);
    // An element before the view and one behind it.
    const auto moved = [&](const Tensor& tensor) {
      std::vector<float> values = floats(tensor);
      values.insert(values.begin(), 5.0f), values.push_back(5.0f);
      return testing::tensor_of(values, {tensor.numel() + 2}, tensor.dtype(), target.device);
    };
    const Tensor y = moved(aligned.y), logsumexp = moved(aligned.logsumexp), dqkv = moved(aligned.dqkv);
    Evaluated run(c, moved(aligned.qkv).view(c.qkv_shape(), 1), moved(aligned.dy).view(c.y_shape(), 1));
    run.y = y.view(c.y_shape(), 1), run.logsumexp = logsumexp.view(c.stats_shape(), 1);
    run.dqkv = dqkv.view(c.qkv_shape(), 1);
    for (const Tensor& result : {run.y, run.logsumexp, run.dqkv})
      result.copy_from(full_of_nan(result.shape(), {target.device, result.dtype()}));
    run.forward(), run.backward();
    EXPECT_TRUE(same_bits(floats(y), floats(moved(aligned.y))));
    EXPECT_TRUE(same_bits(floats(logsumexp), floats(moved(aligned.logsumexp))));
    EXPECT_TRUE(same_bits(floats(dqkv), floats(moved(aligned.dqkv))));
  }
}

TEST(Attention, ASampleHasTheSameBitsInAnyBatch) {
  for (const Target& target : targets()) {
    const std::int64_t tokens = on_cpu(target) ? 70 : 20;
    const Case batch = {.batch = 3, .tokens = tokens, .heads = 2, .head_size = 9, .on = target};
    const Case single = {.batch = 1, .tokens = tokens, .heads = 2, .head_size = 9, .on = target};
    const Evaluated all(batch);
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t row = single.qkv_shape().numel(), y_row = single.y_shape().numel();
      const Evaluated alone(single, all.qkv.view(single.qkv_shape(), b * row),
                            all.dy.view(single.y_shape(), b * y_row));
      EXPECT_TRUE(same_bits(floats(alone.y), floats(all.y.view(single.y_shape(), b * y_row))));
      EXPECT_TRUE(same_bits(floats(alone.dqkv), floats(all.dqkv.view(single.qkv_shape(), b * row))));
    }
  }
}

TEST(Attention, BackwardWritesTheGradientWholeAndRepeats) {
  for (const Target& target : targets()) {
    const Evaluated run({.tokens = 65, .heads = 2, .head_size = 6, .on = target});
    const std::vector<float> once = floats(run.dqkv);
    run.backward();
    EXPECT_TRUE(same_bits(once, floats(run.dqkv)));
  }
}

TEST(Attention, LaterTokensDoNotReachEarlierOnes) {
  for (const Target& target : targets()) {
    const Case c = {.tokens = 90, .heads = 1, .head_size = 4, .on = target};
    SCOPED_TRACE(c.text());
    const Evaluated run(c);
    using Tokens = std::vector<std::int64_t>;
    for (std::int64_t changed : on_cpu(target) ? Tokens{1, 15, 16, 64, 89} : Tokens{16, 65}) {
      std::vector<float> values = floats(run.qkv);
      for (auto i = static_cast<std::size_t>(changed * 12); i < values.size(); ++i) values[i] += 1;
      const Evaluated other(c, testing::tensor_of(values, c.qkv_shape(), target.dtype, target.device), run.dy);
      std::vector<float> before = floats(run.y), after = floats(other.y);
      EXPECT_FALSE(same_bits(before, after));
      before.resize(static_cast<std::size_t>(changed * 4));
      after.resize(before.size());
      EXPECT_TRUE(same_bits(before, after)) << changed;
    }
  }
}

// Which queries of sample 1, head 1 come out as NaN when one element of qkv is `value`.
struct Poisoned {
  Case c;
  Evaluated run;
  std::int64_t token;

  Poisoned(const Target& on, std::int64_t part, std::int64_t at, float value)
      : c{.batch = 2, .tokens = 70, .heads = 2, .head_size = 4, .on = on},
        run(c, poisoned_qkv(c, part, at, value), testing::random_tensor(c.y_shape(), 2, on.dtype, on.device)),
        token(at) {}
  static Tensor poisoned_qkv(const Case& c, std::int64_t part, std::int64_t token, float value) {
    std::vector<float> values = floats(random_qkv(c, 1));
    values[static_cast<std::size_t>((c.tokens + token) * 24 + part * 8 + 4)] = value;
    return testing::tensor_of(values, c.qkv_shape(), c.on.dtype, c.on.device);
  }
  bool nan_at(std::int64_t query) const {
    const std::vector<float> y = floats(run.y);
    return std::isnan(y[static_cast<std::size_t>((c.tokens + query) * 8 + 4)]);
  }
  void expect_other_heads_finite() const {
    const std::vector<float> y = floats(run.y), dqkv = floats(run.dqkv);
    const auto in_poisoned_head = [](const std::vector<float>& values, std::size_t i) {
      return i >= values.size() / 2 && i % 8 >= 4;
    };
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_TRUE(in_poisoned_head(y, i) || std::isfinite(y[i])) << i;
    for (std::size_t i = 0; i < dqkv.size(); ++i) ASSERT_TRUE(in_poisoned_head(dqkv, i) || std::isfinite(dqkv[i])) << i;
  }
  bool gradient_has_nan() const {
    const std::vector<float> dqkv = floats(run.dqkv);
    return std::any_of(dqkv.begin(), dqkv.end(), [](float value) { return std::isnan(value); });
  }
};

TEST(Attention, ANanReachesEveryQueryThatSeesItAndNoOtherHead) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Target& target : targets())
    for (std::int64_t token : on_cpu(target) ? std::vector<std::int64_t>{0, 17, 66} : std::vector<std::int64_t>{17}) {
      const Poisoned query(target, 0, token, nan), key(target, 1, token, nan), value(target, 2, token, nan);
      for (std::int64_t q = 0; q < 70; ++q) {
        EXPECT_EQ(query.nan_at(q), q == token);
        if (q < token) continue;
        EXPECT_TRUE(key.nan_at(q)) << q;
        EXPECT_TRUE(value.nan_at(q)) << q;
      }
      for (const Poisoned* poisoned : {&query, &key, &value}) {
        poisoned->expect_other_heads_finite();
        EXPECT_TRUE(poisoned->gradient_has_nan());
      }
    }
}

TEST(Attention, InfiniteScoresBecomeNan) {
  for (const Target& target : targets()) {
    const Poisoned query(target, 0, 20, std::numeric_limits<float>::infinity());
    EXPECT_TRUE(query.nan_at(20));
    EXPECT_TRUE(query.gradient_has_nan());
    query.expect_other_heads_finite();
  }
}

// Tile by tile, a softmax may meet nothing but -inf before it meets a finite score.
TEST(Attention, KeysOfMinusInfinityCountAsNothing) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const Target& target : targets()) {
    const Case c = {.tokens = 70, .heads = 1, .head_size = 1, .scale = 1, .on = target};
    SCOPED_TRACE(c.text());
    std::vector<float> qkv;
    for (int t = 0; t < 70; ++t)
      for (float value : {1.0f, t < 66 ? -infinity : 0.0f, static_cast<float>(t)}) qkv.push_back(value);
    const Evaluated run(c, testing::tensor_of(qkv, c.qkv_shape(), target.dtype, target.device),
                        testing::random_tensor(c.y_shape(), 1, target.dtype, target.device));
    const std::vector<float> y = floats(run.y);
    EXPECT_TRUE(std::isnan(y[0]));  // 0 / 0
    EXPECT_TRUE(std::isnan(y[65]));
    EXPECT_FLOAT_EQ(y[66], 66);
    EXPECT_FLOAT_EQ(y[69], 67.5f);
    EXPECT_FLOAT_EQ(floats(run.logsumexp)[69], std::log(4.0f));
  }
}

// Linear in T: keys, values and their gradients (padded to vectors), and tiles of fixed size, for every thread.
TEST(Attention, WorkspaceGrowsWithTokensTimesHeadSize) {
  for (const Target& target : targets()) {
    Allocator& allocator = Allocator::of(target.device);
    const auto peak = [&](std::int64_t tokens) {
      const Case c = {.tokens = tokens, .heads = 2, .head_size = 32, .on = target};
      const Tensor qkv = testing::random_tensor(c.qkv_shape(), 1, target.dtype, target.device);
      const Tensor dy = testing::random_tensor(c.y_shape(), 1, target.dtype, target.device);
      const std::size_t live = allocator.stats()[Category::workspace].live;
      allocator.reset_peak();
      const Evaluated run(c, qkv, dy);
      EXPECT_EQ(allocator.stats()[Category::workspace].live, live) << "workspace must be returned";
      return static_cast<double>(allocator.stats()[Category::workspace].peak - live);
    };
    const int before = thread_count();
    set_thread_count(2);
    const double bytes_per_row = 2 * 4 * 32 * sizeof(float);  // threads, operands, head size
    const std::int64_t few = on_cpu(target) ? 256 : 32, many = 4 * few;
    const double short_peak = peak(few), long_peak = peak(many);
    set_thread_count(before);
    EXPECT_GT(long_peak, 0);
    EXPECT_LE(long_peak - short_peak, static_cast<double>(many - few) * bytes_per_row + 4096);
    EXPECT_LT(long_peak, static_cast<double>(many * many) * sizeof(float));
  }
}

TEST(Attention, ErrorsNameTheOperand) {
  const Case c = {.batch = 2, .tokens = 3, .heads = 2, .head_size = 4};
  const Evaluated run(c);
  const auto forward_error = [&](auto&& change) {
    AttentionForward op = run.forward_arguments();
    change(op);
    return error_message([&] { attention_forward(op); });
  };
  const auto backward_error = [&](auto&& change) {
    AttentionBackward op = run.backward_arguments();
    change(op);
    return error_message([&] { attention_backward(op); });
  };
  EXPECT_EQ(forward_error([](auto& op) { op.qkv = {}; }), "attention_forward: qkv must be given");
  EXPECT_EQ(forward_error([](auto& op) { op.y = {}; }), "attention_forward: y must be given");
  EXPECT_EQ(forward_error([](auto& op) { op.logsumexp = {}; }), "attention_forward: logsumexp must be given");
  EXPECT_EQ(forward_error([](auto& op) {
              op.qkv = op.qkv.view({6, 24});
            }),
            "attention_forward: qkv must have shape [B, T, 3*C], but has [6, 24]");
  EXPECT_EQ(forward_error([](auto& op) {
              op.qkv = Tensor::zeros({2, 3, 25});
            }),
            "attention_forward: qkv must have shape [B, T, 3*C], but has [2, 3, 25]");
  EXPECT_EQ(forward_error([](auto& op) { op.heads = 3; }),
            "attention_forward: heads must divide C = 8 of qkv [2, 3, 24], but is 3");
  EXPECT_EQ(forward_error([](auto& op) { op.heads = 0; }),
            "attention_forward: heads must divide C = 8 of qkv [2, 3, 24], but is 0");
  EXPECT_EQ(forward_error([](auto& op) {
              op.y = Tensor::zeros({2, 3, 9});
            }),
            "attention_forward: y must have shape [2, 3, 8] to match qkv, but has [2, 3, 9]");
  EXPECT_EQ(forward_error([](auto& op) {
              op.logsumexp = Tensor::zeros({2, 3, 2});
            }),
            "attention_forward: logsumexp must have shape [2, 2, 3] (batch, heads, tokens), but has [2, 3, 2]");
  EXPECT_EQ(forward_error([](auto& op) {
              op.qkv = Tensor::zeros({2, 3, 24}, DType::i32);
            }),
            "attention_forward: qkv must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(forward_error([](auto& op) {
              op.y = Tensor::zeros({2, 3, 8}, DType::bf16);
            }),
            "attention_forward: y must be f32, but is bf16");
  EXPECT_EQ(forward_error([](auto& op) {
              op.logsumexp = Tensor::zeros({2, 2, 3}, DType::f16);
            }),
            "attention_forward: logsumexp must be f32, but is f16");
  EXPECT_EQ(forward_error([](auto& op) {
              op.qkv = Tensor::zeros({2, 3, 24}, DType::bf16);
              op.y = Tensor::zeros({2, 3, 8}, DType::bf16);
            }),
            "attention_forward: the CPU backend computes in f32, but qkv is bf16");
  EXPECT_EQ(forward_error([](auto& op) { op.dropout_p = 1; }),
            "attention_forward: dropout_p must be in [0, 1), but is 1");
  EXPECT_THAT(forward_error([](auto& op) { op.dropout_p = std::numeric_limits<float>::quiet_NaN(); }),
              HasSubstr("dropout_p must be in [0, 1)"));
  EXPECT_EQ(forward_error([](auto& op) {
              op.y = op.qkv.view({2, 3, 8});
            }),
            "attention_forward: y must not share memory with qkv, but does");

  EXPECT_EQ(backward_error([](auto& op) { op.dqkv = {}; }), "attention_backward: dqkv must be given");
  EXPECT_EQ(backward_error([](auto& op) { op.dy = {}; }), "attention_backward: dy must be given");
  EXPECT_EQ(backward_error([](auto& op) {
              op.dy = Tensor::zeros({2, 3, 4});
            }),
            "attention_backward: dy must have shape [2, 3, 8] like y, but has [2, 3, 4]");
  EXPECT_EQ(backward_error([](auto& op) {
              op.dqkv = Tensor::zeros({2, 3, 8});
            }),
            "attention_backward: dqkv must have shape [2, 3, 24] like qkv, but has [2, 3, 8]");
  EXPECT_EQ(backward_error([](auto& op) {
              op.dy = Tensor::zeros({2, 3, 8}, DType::f16);
            }),
            "attention_backward: dy must be f32, but is f16");
  EXPECT_EQ(backward_error([](auto& op) { op.dqkv = op.qkv; }),
            "attention_backward: dqkv must not share memory with qkv, but does");
}

// More probabilities than a sample's 2^34 random numbers: refused, not wrapped around. Without dropout nothing is
// drawn.
TEST(Attention, DropoutRefusesMoreProbabilitiesThanItsCounterHas) {
  const std::int64_t tokens = 4096;
  const int heads = 1024;
  const AttentionForward op = {.y = Tensor::empty({1, tokens, heads}),
                               .logsumexp = Tensor::empty({1, heads, tokens}),
                               .qkv = Tensor::empty({1, tokens, 3 * heads}),
                               .heads = heads,
                               .dropout_p = 0.5f};
  EXPECT_EQ(
      error_message([&] { attention_forward(op); }),
      "attention_forward: dropout needs heads * T * T of at most 2^34, but heads is 1024 and qkv is [1, 4096, 3072]");
}

}  // namespace
}  // namespace accrue::kernels::attention_test
