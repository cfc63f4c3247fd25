#include "kernels/cross_entropy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/instruction_sets.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels {
namespace {

using testing::error_message;
using Doubles = std::vector<double>;
using Targets = std::vector<std::int32_t>;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

constexpr double u = testing::unit_roundoff(DType::f32);

// What the definition gives, and first-order bounds of a float kernel's errors.
struct Reference {
  double loss = 0, loss_bound = 0;
  std::int64_t count = 0;
  Doubles gradient, gradient_bounds;  // of the loss
};

// Roundings of a sum of exponentials: over at most 4096 elements in f32, four lanes or more, two at a time, then across
// lanes; what lies between such parts is f64.
double additions(std::int64_t classes) {
  const double part = std::max(4096.0, static_cast<double>((classes + 63) / 64));
  return std::min(static_cast<double>(classes), part) / 8 + 8;
}

void add_row(const double* x, std::int32_t target, std::int64_t classes, Reference& r, double* gradient,
             double* bounds) {
  constexpr double smallest = 0x1p-149;  // a result below 2^-126 may lose this much
  const double max = *std::max_element(x, x + classes);
  // A term e^(x - max): the difference is rounded, the exponential is within 2 ulp.
  const auto term_error = [&](std::int64_t i) { return (max - x[i] + 4) * u; };
  double sum = 0, sum_error = 0;
  for (std::int64_t i = 0; i < classes; ++i) {
    sum += std::exp(x[i] - max);
    sum_error += std::exp(x[i] - max) * term_error(i) + smallest;
  }
  const double relative = sum_error / sum + additions(classes) * u;
  for (std::int64_t i = 0; i < classes; ++i) {
    gradient[i] = std::exp(x[i] - max) / sum;
    // The term, the sum, the factor that divides by it and the product.
    bounds[i] = gradient[i] * (term_error(i) + relative + 2 * u) + 2 * smallest;
  }
  gradient[target] -= 1;
  bounds[target] += 2 * u;  // what is subtracted and the difference are rounded
  const double loss = std::log(sum) + (max - x[target]);
  r.loss += loss;
  r.loss_bound += relative;
  ++r.count;
}

Reference reference(const Doubles& logits, const Targets& targets, std::int64_t classes, std::int32_t ignored = -1) {
  Reference r;
  r.gradient.assign(logits.size(), 0);
  r.gradient_bounds.assign(logits.size(), 0);
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const std::size_t at = row * static_cast<std::size_t>(classes);
    if (targets[row] != ignored)
      add_row(logits.data() + at, targets[row], classes, r, r.gradient.data() + at, r.gradient_bounds.data() + at);
  }
  r.loss_bound += static_cast<double>(4 * r.count) * 0x1p-53 * r.loss;  // logarithms and sums in f64
  return r;
}

struct Problem {
  std::int64_t classes;
  Targets targets;
  Tensor logits;

  Problem(std::int64_t rows, std::int64_t columns, Device device, float mean = 0, std::uint64_t seed = 1)
      : classes(columns), logits(testing::random_tensor({rows, columns}, seed, DType::f32, device, mean, 2)) {
    std::mt19937_64 generator(seed);
    for (std::int64_t row = 0; row < rows; ++row)
      targets.push_back(static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(columns)));
  }

  Reference expected() const { return reference(testing::to_doubles(logits), targets, classes); }

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
    for (std::int64_t rows : testing::sweep_rows)
      for (std::int64_t classes : testing::sweep_cols) {
        SCOPED_TRACE(fmt::format("{} rows, {} classes", rows, classes));
        const Problem problem(rows, classes, device);
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
    for (std::int64_t classes : {8192, 50257, 262145}) {
      const Problem problem(2, classes, device);
      const Reference expected = problem.expected();
      const CrossEntropy op = problem.arguments(LossGradient::in_place);
      EXPECT_NEAR(run(op).sum, expected.loss, expected.loss_bound);
      EXPECT_TRUE(testing::within(op.logits, expected.gradient, expected.gradient_bounds));
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
        [&](const Doubles& x) { return reference(x, problem.targets, 31).loss; }, testing::to_doubles(problem.logits));
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
      const Reference expected = reference(testing::to_doubles(problem.logits), problem.targets, 33, ignored);
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

TEST(CrossEntropy, ATargetOutOfRangeIsRefusedBeforeAnythingChanges) {
  for (Device device : testing::devices())
    for (std::int32_t bad : {31, 1000, -2}) {
      Problem problem(7, 31, device);
      problem.targets[1] = -1;
      problem.targets[6] = bad;
      const CrossEntropy op = problem.arguments(LossGradient::in_place);
      const std::vector<std::uint8_t> terms = op.terms.to_vector<std::uint8_t>();
      EXPECT_EQ(error_message([&] { cross_entropy(op); }, ErrorKind::bad_data),
                fmt::format("cross_entropy: the target of row 6 must be in [0, 31) or -1 (ignored), but is {}", bad));
      EXPECT_EQ(op.logits.to_vector<float>(), problem.logits.to_vector<float>());
      EXPECT_EQ(op.terms.to_vector<std::uint8_t>(), terms);
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
  EXPECT_EQ(error([](auto& op) { op.loss_scale = Tensor::zeros({2}); }),
            "cross_entropy: loss_scale must have shape [1] (one factor), but has [2]");
  EXPECT_EQ(error([](auto& op) { op.loss_scale = Tensor::zeros({1}, DType::f16); }),
            "cross_entropy: loss_scale must be f32, but is f16");
}

}  // namespace
}  // namespace accrue::kernels
