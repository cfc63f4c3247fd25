#include "kernels/cross_entropy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/instruction_sets.h"
#include "tests/testing/reference_cross_entropy.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::cross_entropy_test {
namespace {

using testing::error_message;
using Reference = testing::CrossEntropyReference;
using Doubles = std::vector<double>;
using Targets = std::vector<std::int32_t>;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

struct Problem {
  std::int64_t classes;
  Targets targets;
  Tensor logits;

  Problem(std::int64_t rows, std::int64_t columns, Device device, float mean = 0, std::uint64_t seed = 1,
          DType dtype = DType::f32)
      : classes(columns), logits(testing::random_tensor({rows, columns}, seed, dtype, device, mean, 2)) {
    std::mt19937_64 generator(seed);
    for (std::int64_t row = 0; row < rows; ++row)
      targets.push_back(static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(columns)));
  }

  // The logits are exact in their dtype; the gradient is rounded to it once.
  Reference expected(std::int32_t ignored = -1) const {
    Reference r =
        testing::cross_entropy_reference(testing::to_doubles(logits), targets, classes, logits.device(), ignored);
    r.gradient_bounds = testing::rounded_once(r.gradient_bounds, r.gradient, logits.dtype());
    return r;
  }

  CrossEntropy arguments(LossGradient gradient) const {
    const Tensor terms = empty_loss_terms(logits.device());
    terms.copy_from_host(std::span<const std::uint8_t>(std::vector<std::uint8_t>(sizeof(LossTerms), 0xff)));
    return {
        .terms = terms,
        .logits = logits.clone(),
        .targets = Tensor::from<std::int32_t>(targets, {static_cast<std::int64_t>(targets.size())}, logits.device()),
        .gradient = gradient};
  }
};

LossTerms run(const CrossEntropy& op) {
  cross_entropy(op);
  return read_loss_terms(op.terms);
}

TEST(CrossEntropy, LossAndGradientMatchTheDefinition) {
  for (Device device : testing::devices())
    for (DType dtype : testing::activation_dtypes(device))
      for (std::int64_t rows : testing::sweep_rows)
        for (std::int64_t classes : testing::sweep_cols) {
          SCOPED_TRACE(fmt::format("{} rows, {} classes, {} on {}", rows, classes, name_of(dtype), device.to_string()));
          const Problem problem(rows, classes, device, 0, 1, dtype);
          const Reference expected = problem.expected();
          const CrossEntropy op = problem.arguments(LossGradient::in_place);
          const LossTerms terms = run(op);
          EXPECT_EQ(terms.count, rows);
          EXPECT_NEAR(terms.sum, expected.loss, expected.loss_bound);
          EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
        }
}

TEST(CrossEntropy, VocabulariesOfSeveralPartsMatchTheDefinition) {
  for (Device device : testing::devices())
    for (DType dtype : testing::activation_dtypes(device))
      for (std::int64_t classes : {8192, 50257, 262145}) {
        if (classes > 100000 && device.kind != DeviceKind::cpu) continue;
        SCOPED_TRACE(fmt::format("{} classes, {} on {}", classes, name_of(dtype), device.to_string()));
        const Problem problem(2, classes, device, 0, 1, dtype);
        const Reference expected = problem.expected();
        const CrossEntropy op = problem.arguments(LossGradient::in_place);
        EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
        EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
      }
}

// In ascending rows a thread of a GPU finds a new maximum, by which it rescales its sum, in every pack.
TEST(CrossEntropy, AscendingLogitsMatchTheDefinition) {
  for (Device device : testing::devices()) {
    std::vector<float> values(9001);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * 0.01f;
    Problem problem(1, 9001, device);
    problem.logits = testing::tensor_of(values, {1, 9001}, DType::f32, device);
    const Reference expected = problem.expected();
    const CrossEntropy op = problem.arguments(LossGradient::in_place);
    EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
    EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
  }
}

TEST(CrossEntropy, TakesViewsThatBeginAtAnyElement) {
  for (Device device : testing::devices())
    for (DType dtype : testing::activation_dtypes(device))
      for (std::int64_t first = 1; first < 8; ++first) {
        SCOPED_TRACE(fmt::format("element {}, {} on {}", first, name_of(dtype), device.to_string()));
        const Problem problem(3, 37, device, 0, 1, dtype);
        const Reference expected = problem.expected();
        CrossEntropy op = problem.arguments(LossGradient::in_place);
        const Tensor buffer = Tensor::zeros({first + 3 * 37 + 1}, dtype, device);
        const Tensor view = buffer.view({3, 37}, first);
        view.copy_from(op.logits);
        op.logits = view;
        EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
        EXPECT_TRUE(testing::within(view, expected.gradient, expected.gradient_bounds));
        EXPECT_EQ(testing::to_doubles(buffer).back(), 0);
        EXPECT_EQ(testing::to_doubles(buffer)[static_cast<std::size_t>(first) - 1], 0);
      }
}

// Of 50257 classes most have a probability of about 1e-5: the bounds must see those as well.
TEST(CrossEntropy, BoundsSeeAFactorOfOneThousandthAndAZeroInEveryElement) {
  constexpr std::int64_t classes = 50257;
  const Problem problem(2, classes, Device::cpu());
  const Reference expected = problem.expected();
  const CrossEntropy op = problem.arguments(LossGradient::in_place);
  run(op);
  const Doubles gradient = testing::to_doubles(op.logits);
  const auto right = [&](const Doubles& changed) {
    return bool(testing::within(changed, expected.gradient, expected.gradient_bounds));
  };
  ASSERT_TRUE(right(gradient));
  for (double factor : {0.999, 1.001}) {
    Doubles scaled = gradient;
    for (double& value : scaled) value *= factor;
    EXPECT_FALSE(right(scaled)) << factor;
  }
  Doubles without_tail = gradient;
  without_tail.back() = 0;
  EXPECT_FALSE(right(without_tail));
  for (std::size_t i = 0; i < gradient.size(); ++i)
    ASSERT_LT(expected.gradient_bounds[i], 1e-3 * std::abs(expected.gradient[i])) << i;
}

TEST(CrossEntropy, EveryInstructionSetMatchesTheDefinition) {
  testing::for_each_instruction_set([] {
    for (std::int64_t classes : testing::sweep_cols) {
      const Problem problem(7, classes, Device::cpu());
      const Reference expected = problem.expected();
      const CrossEntropy op = problem.arguments(LossGradient::in_place);
      EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
      EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
    }
  });
}

TEST(CrossEntropy, WithoutGradientTheLogitsKeepTheirBitsAndTheLossIsTheSame) {
  for (Device device : testing::devices())
    for (std::int64_t classes : testing::sweep_cols) {
      const Problem problem(7, classes, device);
      const CrossEntropy loss_only = problem.arguments(LossGradient::none);
      const LossTerms terms = run(loss_only), with_gradient = run(problem.arguments(LossGradient::in_place));
      EXPECT_EQ(loss_only.logits.to_vector<float>(), problem.logits.to_vector<float>());
      EXPECT_EQ(terms.sum, with_gradient.sum);
      EXPECT_EQ(terms.count, with_gradient.count);
    }
}

TEST(CrossEntropy, GradientMatchesFiniteDifferences) {
  for (Device device : testing::devices()) {
    const Problem problem(7, 31, device);
    const Reference expected = problem.expected();
    const CrossEntropy op = problem.arguments(LossGradient::in_place);
    run(op);
    const Doubles numeric = testing::numeric_gradient(
        [&](const Doubles& x) { return testing::cross_entropy_reference(x, problem.targets, 31, device).loss; },
        testing::to_doubles(problem.logits));
    // The reference rounds about 40 times in f64 around its loss, divided by h = 1e-3; the fifth derivative of a
    // logsumexp is below 24, times h^4.
    const double numeric_error = 40 * 0x1p-53 * expected.loss / 1e-3 + 24e-12;
    Doubles bounds = expected.gradient_bounds;
    for (double& bound : bounds) bound += numeric_error;
    EXPECT_TRUE(testing::within(op.logits, numeric, bounds));
  }
}

// An f32 logit near 1e4 is a multiple of 2^-10: the reference gets the same rounded logits, so that only the
// operation's own error counts.
TEST(CrossEntropy, LogitsShiftedByTenThousandLoseNothing) {
  for (Device device : testing::devices())
    for (float mean : {1e4f, -1e4f}) {
      const Problem problem(7, 1000, device, mean);
      const Reference expected = problem.expected();
      const CrossEntropy op = problem.arguments(LossGradient::in_place);
      EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
      EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
    }
}

TEST(CrossEntropy, IgnoredRowsGetExactZerosWhateverTheirLogits) {
  for (Device device : testing::devices())
    for (std::int32_t ignored : {-1, -100, 5}) {
      Problem problem(4, 33, device);
      problem.targets = {3, ignored, 0, ignored};
      std::vector<float> values = problem.logits.to_vector<float>();
      std::fill_n(values.begin() + 33, 33, nan);
      values[3 * 33 + 7] = infinity;
      values[3 * 33 + 8] = -infinity;
      problem.logits = testing::tensor_of(values, {4, 33}, DType::f32, device);
      CrossEntropy op = problem.arguments(LossGradient::in_place);
      op.ignore_index = ignored;
      const LossTerms terms = run(op);
      EXPECT_EQ(terms.count, 2);
      const Reference expected = problem.expected(ignored);
      EXPECT_NEAR(terms.sum, expected.loss, expected.loss_bound);
      const std::vector<float> gradient = op.logits.to_vector<float>();
      for (std::size_t i = 0; i < 33; ++i) {
        EXPECT_EQ(gradient[33 + i], 0.0f);
        EXPECT_EQ(gradient[3 * 33 + i], 0.0f);
      }
      EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
    }
}

TEST(CrossEntropy, AllRowsIgnoredGiveZeroSumZeroCountAndZeroGradient) {
  for (Device device : testing::devices())
    for (LossReduction reduction : {LossReduction::sum, LossReduction::mean}) {
      Problem problem(3, 31, device);
      problem.targets = {-1, -1, -1};
      CrossEntropy op = problem.arguments(LossGradient::in_place);
      op.reduction = reduction;
      const LossTerms terms = run(op);
      EXPECT_EQ(terms.count, 0);
      EXPECT_EQ(terms.sum, 0.0);
      for (float value : op.logits.to_vector<float>()) EXPECT_EQ(value, 0.0f);
    }
}

TEST(CrossEntropy, MeanDividesTheGradientByTheCountButNotTheSum) {
  for (Device device : testing::devices()) {
    Problem problem(7, 33, device);
    problem.targets[2] = problem.targets[5] = -1;
    const Reference expected = problem.expected();
    CrossEntropy op = problem.arguments(LossGradient::in_place);
    op.reduction = LossReduction::mean;
    EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
    Doubles gradient = expected.gradient, bounds = expected.gradient_bounds;
    for (double& value : gradient) value /= 5;
    for (double& value : bounds) value /= 5;
    EXPECT_TRUE(testing::within(op.logits, gradient, bounds));
  }
}

// A power of two scales the gradient's bits and nothing else (contract 13 and 19).
TEST(CrossEntropy, LossScaleScalesTheGradientExactlyAndLeavesTheSum) {
  for (Device device : testing::devices())
    for (float scale : {0x1p8f, 0x1p16f}) {
      const Problem problem(7, 1000, device);
      const CrossEntropy plain = problem.arguments(LossGradient::in_place);
      CrossEntropy scaled = problem.arguments(LossGradient::in_place);
      scaled.loss_scale = testing::tensor_of({scale}, {1}, DType::f32, device);
      EXPECT_EQ(run(plain).sum, run(scaled).sum);
      std::vector<float> expected = plain.logits.to_vector<float>();
      for (float& value : expected) value *= scale;
      EXPECT_EQ(scaled.logits.to_vector<float>(), expected);
    }
}

TEST(CrossEntropy, ANanLogitOfACountedRowIsShown) {
  for (Device device : testing::devices())
    for (float poison : {nan, infinity})
      for (std::int64_t at : {0, 30, 999, 4096}) {
        Problem problem(3, 4097, device);
        std::vector<float> values = problem.logits.to_vector<float>();
        values[static_cast<std::size_t>(4097 + at)] = poison;
        problem.logits = testing::tensor_of(values, {3, 4097}, DType::f32, device);
        const CrossEntropy op = problem.arguments(LossGradient::in_place);
        EXPECT_TRUE(std::isnan(run(op).sum)) << at;
        const std::vector<float> gradient = op.logits.to_vector<float>();
        for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_EQ(std::isnan(gradient[i]), i / 4097 == 1) << i;
      }
}

// -inf masks a class out; a part of the vocabulary may consist of nothing else.
TEST(CrossEntropy, ClassesOfMinusInfinityHaveNoProbability) {
  for (Device device : testing::devices()) {
    std::vector<float> values(9000, -infinity);
    values[8998] = 1, values[8999] = 1;
    Problem problem(1, 9000, device);
    problem.logits = testing::tensor_of(values, {1, 9000}, DType::f32, device);
    problem.targets = {8999};
    const CrossEntropy op = problem.arguments(LossGradient::in_place);
    EXPECT_NEAR(run(op).sum, std::log(2.0), 8 * testing::unit_roundoff(DType::f32));
    std::vector<float> gradient(9000, 0.0f);
    gradient[8998] = 0.5f, gradient[8999] = -0.5f;
    EXPECT_EQ(op.logits.to_vector<float>(), gradient);

    problem.targets = {0};
    EXPECT_EQ(run(problem.arguments(LossGradient::none)).sum, infinity);
    problem.logits = testing::tensor_of(std::vector<float>(9000, -infinity), {1, 9000}, DType::f32, device);
    EXPECT_TRUE(std::isnan(run(problem.arguments(LossGradient::none)).sum));
  }
}

// The CPU looks at all targets first; a GPU's kernels report one to the next call that waits for them.
TEST(CrossEntropy, ATargetOutOfRangeIsRefusedAndItsRowDoesNotChange) {
  for (Device device : testing::devices())
    for (std::int32_t bad : {31, 1000, -2}) {
      Problem problem(7, 31, device);
      problem.targets[1] = -1;
      problem.targets[6] = bad;
      CrossEntropy op = problem.arguments(LossGradient::in_place);
      const std::vector<std::uint8_t> terms = op.terms.to_vector<std::uint8_t>();
      const auto message = [&] {
        return error_message(
            [&] {
              cross_entropy(op);
              op.terms.to_vector<std::uint8_t>();
            },
            ErrorKind::bad_data);
      };
      EXPECT_EQ(message(),
                fmt::format("cross_entropy: the target of row 6 must be in [0, 31) or -1 (ignored), but is {}", bad));
      const auto row = [](const Tensor& logits) { return logits.view({31}, 6 * 31).to_vector<float>(); };
      EXPECT_EQ(row(op.logits), row(problem.logits));
      if (device.kind == DeviceKind::cpu) {
        EXPECT_EQ(op.logits.to_vector<float>(), problem.logits.to_vector<float>());
        EXPECT_EQ(op.terms.to_vector<std::uint8_t>(), terms);
      } else {
        EXPECT_EQ(read_loss_terms(op.terms).count, 5);
      }
      op.first_row = 100;
      EXPECT_EQ(message(),
                fmt::format("cross_entropy: the target of row 106 must be in [0, 31) or -1 (ignored), but is {}", bad));
    }
}

TEST(CrossEntropy, PartsOfABatchAddUpToTheWhole) {
  for (Device device : testing::devices())
    for (LossReduction reduction : {LossReduction::sum, LossReduction::mean}) {
      Problem problem(7, 33, device);
      problem.targets[2] = problem.targets[3] = -1;
      CrossEntropy whole = problem.arguments(LossGradient::in_place), parts = problem.arguments(LossGradient::in_place);
      whole.reduction = reduction;
      const LossTerms expected = run(whole);
      for (const auto& [first, rows] : {std::pair<std::int64_t, std::int64_t>{0, 3}, {3, 1}, {4, 3}}) {
        CrossEntropy part = parts;
        part.logits = parts.logits.view({rows, 33}, first * 33);
        part.targets = parts.targets.view({rows}, first);
        part.reduction = reduction;
        part.terms_write = first == 0 ? Write::overwrite : Write::accumulate;  // the old bytes are NaN
        if (reduction == LossReduction::mean) part.mean_over = parts.targets;
        cross_entropy(part);
      }
      const LossTerms terms = read_loss_terms(parts.terms);
      EXPECT_EQ(terms.count, expected.count);
      EXPECT_NEAR(terms.sum, expected.sum, 7 * 0x1p-53 * expected.sum);  // additions in f64
      EXPECT_EQ(parts.logits.to_vector<float>(), whole.logits.to_vector<float>());
    }
}

TEST(CrossEntropy, TwoRunsGiveTheSameBits) {
  for (Device device : testing::devices()) {
    const Problem problem(37, 1000, device);
    const CrossEntropy first = problem.arguments(LossGradient::in_place),
                       second = problem.arguments(LossGradient::in_place);
    EXPECT_EQ(run(first).sum, run(second).sum);
    EXPECT_EQ(first.logits.to_vector<float>(), second.logits.to_vector<float>());
  }
}

TEST(CrossEntropy, AnyNumberOfThreadsGivesTheSameBits) {
  const Problem problem(37, 1000, Device::cpu());
  testing::expect_same_bits_for_any_thread_count([&]() -> std::vector<Tensor> {
    const CrossEntropy op = problem.arguments(LossGradient::in_place);
    cross_entropy(op);
    return {op.terms, op.logits};
  });
}

TEST(CrossEntropy, LeadingAxesAreRows) {
  for (Device device : testing::devices()) {
    const Problem problem(6, 33, device);
    const CrossEntropy flat = problem.arguments(LossGradient::in_place);
    CrossEntropy shaped = problem.arguments(LossGradient::in_place);
    shaped.logits = shaped.logits.view({2, 3, 33});
    shaped.targets = shaped.targets.view({2, 3});
    EXPECT_EQ(run(flat).sum, run(shaped).sum);
    EXPECT_EQ(flat.logits.to_vector<float>(), shaped.logits.to_vector<float>());
  }
}

// Contract 1: the loss is a sum, so a batch's sum and gradient are those of its halves.
TEST(CrossEntropy, ARowHasTheSameGradientInAnyBatch) {
  EXPECT_TRUE(rc::check("a row's gradient does not depend on its neighbours", [] {
    const std::int64_t rows = *rc::gen::inRange(1, 9), classes = *rc::gen::inRange(1, 300);
    const auto row = static_cast<std::size_t>(*rc::gen::inRange<std::int64_t>(0, rows));
    const Problem batch(rows, classes, Device::cpu(), 0, *rc::gen::arbitrary<std::uint64_t>());
    Problem alone = batch;
    alone.logits = batch.logits.view({1, classes}, static_cast<std::int64_t>(row) * classes);
    alone.targets = {batch.targets[row]};
    const CrossEntropy all = batch.arguments(LossGradient::in_place), one = alone.arguments(LossGradient::in_place);
    run(all);
    run(one);
    RC_ASSERT(all.logits.view({1, classes}, static_cast<std::int64_t>(row) * classes).to_vector<float>() ==
              one.logits.to_vector<float>());
  }));
}

TEST(CrossEntropy, ErrorsNameTheOperand) {
  const Problem problem(7, 31, Device::cpu());
  const auto error = [&](auto&& change) {
    CrossEntropy op = problem.arguments(LossGradient::none);
    change(op);
    return error_message([&] { cross_entropy(op); });
  };
  EXPECT_EQ(error([](auto& op) { op.terms = {}; }), "cross_entropy: terms must be given");
  EXPECT_EQ(error([](auto& op) { op.logits = {}; }), "cross_entropy: logits must be given");
  EXPECT_EQ(error([](auto& op) { op.targets = {}; }), "cross_entropy: targets must be given");
  EXPECT_EQ(error([](auto& op) {
              op.logits = Tensor::zeros({7, 31}, DType::i32);
            }),
            "cross_entropy: logits must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(error([](auto& op) {
              op.logits = Tensor::zeros({7, 31}, DType::bf16);
            }),
            "cross_entropy: the CPU backend computes in f32, but logits is bf16");
  EXPECT_EQ(error([](auto& op) { op.logits = Tensor::zeros({}); }),
            "cross_entropy: logits must have shape [..., V], but has []");
  EXPECT_EQ(error([](auto& op) { op.targets = Tensor::zeros({7}); }), "cross_entropy: targets must be i32, but is f32");
  EXPECT_EQ(error([](auto& op) { op.targets = Tensor::zeros({6}, DType::i32); }),
            "cross_entropy: targets must have 7 elements, one for each row of logits [7, 31], but has [6]");
  EXPECT_EQ(error([](auto& op) { op.terms = Tensor::zeros({4}); }), "cross_entropy: terms must be u8, but is f32");
  EXPECT_EQ(error([](auto& op) { op.terms = Tensor::zeros({8}, DType::u8); }),
            "cross_entropy: terms must have shape [16] as empty_loss_terms() makes it, but has [8]");
  EXPECT_EQ(error([](auto& op) { op.mean_over = Tensor::zeros({7}); }),
            "cross_entropy: mean_over must be i32, but is f32");
  EXPECT_EQ(error([](auto& op) { op.mean_over = Tensor::zeros({7}, DType::i32); }),
            "cross_entropy: mean_over is for LossReduction::mean alone");
  EXPECT_EQ(error([](auto& op) { op.loss_scale = Tensor::zeros({2}); }),
            "cross_entropy: loss_scale must have shape [1] (one factor), but has [2]");
  EXPECT_EQ(error([](auto& op) { op.loss_scale = Tensor::zeros({1}, DType::f16); }),
            "cross_entropy: loss_scale must be f32, but is f16");
}

}  // namespace
}  // namespace accrue::kernels::cross_entropy_test
