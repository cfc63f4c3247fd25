// Every function of nn/functional.h: its backward against finite differences of a reference in double, its shape
// errors.
#include "nn/functional.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "nn/cross_entropy.h"
#include "nn/gradients.h"
#include "tests/testing/compare.h"
#include "tests/testing/function_case.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"

namespace accrue::nn::nn_functional_test {
namespace {

using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double u = unit_roundoff(DType::f32);

TEST(Linear, BackwardMatchesFiniteDifferences) {
  expect_gradients({.x_shape = {2, 3, 5},
                    .parameter_shapes = {{5, 7}, {7}},
                    .function = [](Tape& t, const Tensor& x, const auto& p) { return linear(t, x, p[0], p[1]); },
                    .reference =
                        [](const auto& x, const auto& p) {
                          std::vector<double> y = product(x, p[0], 5, 7, false);
                          for (std::size_t i = 0; i < y.size(); ++i) y[i] += p[1][i % 7];
                          return y;
                        },
                    .terms = 8});
}

TEST(Linear, BackwardOfTheTransposedLayoutMatchesFiniteDifferences) {
  expect_gradients(
      {.x_shape = {6, 5},
       .parameter_shapes = {{7, 5}},
       .function = [](Tape& t, const Tensor& x, const auto& p) { return linear(t, x, p[0], {}, WeightLayout::out_in); },
       .reference = [](const auto& x, const auto& p) { return product(x, p[0], 5, 7, true); },
       .terms = 7});
}

TEST(Linear, AWeightUsedTwiceSumsBothUses) {
  expect_gradients(
      {.x_shape = {4, 5},
       .parameter_shapes = {{5, 5}},
       .function = [](Tape& t, const Tensor& x, const auto& p) { return linear(t, linear(t, x, p[0]), p[0]); },
       .reference = [](const auto& x,
                       const auto& p) { return product(product(x, p[0], 5, 5, false), p[0], 5, 5, false); },
       .terms = 25});
}

TEST(LayerNorm, BackwardMatchesFiniteDifferences) {
  expect_gradients(
      {.x_shape = {2, 3, 6},
       .parameter_shapes = {{6}, {6}},
       .function = [](Tape& t, const Tensor& x, const auto& p) { return layernorm(t, x, p[0], p[1], 0.1f); },
       .reference =
           [](const auto& x, const auto& p) {
             std::vector<double> y(x.size());
             for (std::size_t row = 0; row < x.size(); row += 6) {
               double mean = 0, variance = 0;
               for (std::size_t i = 0; i < 6; ++i) mean += x[row + i] / 6;
               for (std::size_t i = 0; i < 6; ++i) variance += (x[row + i] - mean) * (x[row + i] - mean) / 6;
               for (std::size_t i = 0; i < 6; ++i)
                 y[row + i] = (x[row + i] - mean) / std::sqrt(variance + double{0.1f}) * p[0][i] + p[1][i];
             }
             return y;
           },
       .terms = 18});
}

// Either output, and both, may be read by what follows.
TEST(ResidualLayerNorm, HasTheBitsOfAddAndLayerNormForwardAndBackward) {
  const auto reads_sum = [](Tape&, const Tensor& sum, const Tensor&) { return sum; };
  const auto reads_norm = [](Tape&, const Tensor&, const Tensor& y) { return y; };
  const auto reads_both = [](Tape& t, const Tensor& sum, const Tensor& y) { return add(t, y, sum); };
  using Rest = std::function<Tensor(Tape&, const Tensor&, const Tensor&)>;
  for (const Device device : devices())
    for (const Rest& rest : {Rest(reads_sum), Rest(reads_norm), Rest(reads_both)}) {
      const Tensor x = random_tensor({2, 3, 6}, 1, DType::f32, device),
                   seed = random_tensor({2, 3, 6}, 3, DType::f32, device);
      const Tensor residual = random_tensor({2, 3, 6}, 2, DType::f32, device);
      const auto run = [&](auto&& first) {
        RandomParameters parameters({{6}, {6}}, device);
        Tape tape;
        tape.require_grad(x);
        tape.require_grad(residual);
        const ResidualLayerNorm both = first(tape, parameters.all[0], parameters.all[1]);
        const Tensor result = rest(tape, both.sum, both.y);
        tape.contribute(result, seed, add_gradient);
        tape.backward();
        std::vector<std::vector<double>> values = {to_doubles(both.sum), to_doubles(both.y), to_doubles(tape.grad(x)),
                                                   to_doubles(tape.grad(residual))};
        for (const Parameter& parameter : parameters.all)
          values.push_back(parameter.fresh() ? std::vector<double>() : to_doubles(parameter.grad()));
        return values;
      };
      EXPECT_EQ(run([&](Tape& t, const Parameter& gamma, const Parameter& beta) {
                  return residual_layernorm(t, x, residual, gamma, beta);
                }),
                run([&](Tape& t, const Parameter& gamma, const Parameter& beta) {
                  const Tensor sum = add(t, x, residual);
                  return ResidualLayerNorm{.sum = sum, .y = layernorm(t, sum, gamma, beta)};
                }));
    }
}

double reference_gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

TEST(Activation, GeluBackwardMatchesFiniteDifferences) {
  expect_gradients({.x_shape = {3, 11},
                    .parameter_shapes = {},
                    .function = [](Tape& t, const Tensor& x, const auto&) { return gelu(t, x); },
                    .reference =
                        [](const auto& x, const auto&) {
                          std::vector<double> y;
                          for (const double value : x) y.push_back(reference_gelu(value));
                          return y;
                        }});
}

TEST(Activation, AnInputWithTwoReadersGetsBothGradients) {
  // The gradient of the activation may take the place of dy only where nobody else holds or needs it.
  expect_gradients({.x_shape = {3, 11},
                    .parameter_shapes = {},
                    .function =
                        [](Tape& t, const Tensor& x, const auto&) {
                          const Tensor a = gelu(t, x);
                          return add(t, add(t, a, x), gelu(t, a));
                        },
                    .reference =
                        [](const auto& x, const auto&) {
                          std::vector<double> y;
                          for (const double value : x) {
                            const double a = reference_gelu(value);
                            y.push_back(a + value + reference_gelu(a));
                          }
                          return y;
                        },
                    .terms = 4});
}

TEST(Activation, ReluBackwardIsTheIndicatorOfPositiveInputs) {
  for (const Device device : devices()) {
    Tape tape;
    const Tensor x = tensor_of({-1, 0, 2, -0.0f, 5}, {5}, DType::f32, device);
    std::vector<double> dx;
    tape.record("input", x, [&dx, node = Node(x)](Tape& t) { dx = to_doubles(t.grad(node)); });
    const Tensor y = relu(tape, x);
    EXPECT_EQ(to_doubles(y), (std::vector<double>{0, 0, 2, 0, 5}));
    tape.contribute(y, tensor_of({1, 2, 3, 4, 5}, {5}, DType::f32, device), add_gradient);
    tape.backward();
    EXPECT_EQ(dx, (std::vector<double>{0, 0, 3, 0, 5}));
  }
}

TEST(Add, AResidualSumHandsItsGradientToBothSides) {
  expect_gradients({.x_shape = {4, 5},
                    .parameter_shapes = {{5, 5}},
                    .function = [](Tape& t, const Tensor& x, const auto& p) { return add(t, x, linear(t, x, p[0])); },
                    .reference =
                        [](const auto& x, const auto& p) {
                          std::vector<double> y = product(x, p[0], 5, 5, false);
                          for (std::size_t i = 0; i < y.size(); ++i) y[i] += x[i];
                          return y;
                        },
                    .terms = 6});
}

TEST(Add, ATensorAddedToItselfGetsTwiceTheGradient) {
  expect_gradients({.x_shape = {4, 5},
                    .parameter_shapes = {},
                    .function = [](Tape& t, const Tensor& x, const auto&) { return add(t, x, x); },
                    .reference =
                        [](const auto& x, const auto&) {
                          std::vector<double> y;
                          for (const double value : x) y.push_back(2 * value);
                          return y;
                        },
                    .terms = 2});
}

TEST(CausalAttention, BackwardMatchesFiniteDifferences) {
  // [2 samples, 5 positions, 3 * 6 features], 2 heads of 3.
  expect_gradients({.x_shape = {2, 5, 18},
                    .parameter_shapes = {},
                    .function = [](Tape& t, const Tensor& x, const auto&) { return causal_attention(t, x, 2); },
                    .reference =
                        [](const auto& x, const auto&) {
                          std::vector<double> y(2 * 5 * 6);
                          const auto at = [&](std::size_t b, std::size_t t, std::size_t f) {
                            return x[(b * 5 + t) * 18 + f];
                          };
                          for (std::size_t b = 0; b < 2; ++b)
                            for (std::size_t h = 0; h < 2; ++h)
                              for (std::size_t q = 0; q < 5; ++q) {
                                double sum = 0;
                                std::vector<double> e(q + 1);
                                for (std::size_t k = 0; k <= q; ++k) {
                                  double score = 0;
                                  for (std::size_t i = 0; i < 3; ++i)
                                    score += at(b, q, h * 3 + i) * at(b, k, 6 + h * 3 + i);
                                  sum += e[k] = std::exp(score / std::sqrt(3.0));
                                }
                                for (std::size_t k = 0; k <= q; ++k)
                                  for (std::size_t i = 0; i < 3; ++i)
                                    y[(b * 5 + q) * 6 + h * 3 + i] += e[k] / sum * at(b, k, 12 + h * 3 + i);
                              }
                          return y;
                        },
                    .terms = 5 * 5 * 3});
}

TEST(CausalAttention, DropsProbabilitiesInTrainingOnly) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({2, 5, 18}, 1, DType::f32, device);
    const auto attend = [&](Tape tape, float p) { return to_doubles(causal_attention(tape, x, 2, p, 3)); };
    EXPECT_EQ(attend(Tape::inference(), 0.5f), attend(Tape(), 0));
    EXPECT_NE(attend(Tape(), 0.5f), attend(Tape(), 0));
  }
}

TEST(Embedding, BackwardMatchesFiniteDifferences) {
  static const std::vector<std::int32_t> ids = {1, 3, 1, 1, 0, 3};
  expect_gradients(
      {.x_shape = {2, 3, 5},
       .parameter_shapes = {{4, 5}, {3, 5}},
       .function =
           [](Tape& t, const Tensor& x, const auto& p) {
             return add(t, embedding(t, Tensor::from<std::int32_t>(ids, {2, 3}, x.device()), p[0], p[1]), x);
           },
       .reference =
           [](const auto& x, const auto& p) {
             std::vector<double> y = x;
             for (std::size_t i = 0; i < y.size(); ++i) {
               const std::size_t token = i / 5, feature = i % 5;
               y[i] += p[0][static_cast<std::size_t>(ids[token]) * 5 + feature] + p[1][token % 3 * 5 + feature];
             }
             return y;
           },
       .terms = 3});
}

TEST(Embedding, BackwardScattersToTheRowsThatWereRead) {
  for (const Device device : devices()) {
    RandomParameters parameters({{4, 3}, {2, 3}}, device);
    const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{1, 3, 1, 1}, {2, 2}, device);
    Tape tape;
    const Tensor y = embedding(tape, ids, parameters.all[0], parameters.all[1]);
    const std::vector<double> table = to_doubles(parameters.all[0].value()),
                              positions = to_doubles(parameters.all[1].value());
    std::vector<double> expected;
    for (const auto& [id, position] : std::vector<std::pair<std::size_t, std::size_t>>{{1, 0}, {3, 1}, {1, 0}, {1, 1}})
      for (std::size_t i = 0; i < 3; ++i) expected.push_back(table[id * 3 + i] + positions[position * 3 + i]);
    EXPECT_TRUE(within(y, expected, Bound{.relative = u, .absolute = 0}));
    tape.contribute(y, tensor_of({1, 2, 3, 10, 20, 30, 100, 200, 300, 1000, 2000, 3000}, {2, 2, 3}, DType::f32, device),
                    add_gradient);
    tape.backward();
    EXPECT_EQ(to_doubles(parameters.all[0].grad()),
              (std::vector<double>{0, 0, 0, 1101, 2202, 3303, 0, 0, 0, 10, 20, 30}));
    EXPECT_EQ(to_doubles(parameters.all[1].grad()), (std::vector<double>{101, 202, 303, 1010, 2020, 3030}));
  }
}

TEST(Dropout, BackwardMatchesFiniteDifferences) {
  // The mask is the key's and the place's, so that of ones is that of x.
  const auto drop = [](Tape& t, const Tensor& x) { return dropout(t, x, 0.25f, 7); };
  Tape tape;
  const std::vector<double> mask = to_doubles(drop(tape, tensor_of(std::vector<float>(66, 1.0f), {2, 33})));
  EXPECT_THAT(mask, AllOf(::testing::Contains(0.0), ::testing::Contains(::testing::DoubleNear(4.0 / 3, 4 * u))));
  expect_gradients({.x_shape = {2, 33},
                    .parameter_shapes = {},
                    .function = [drop](Tape& t, const Tensor& x, const auto&) { return drop(t, x); },
                    .reference =
                        [mask](const auto& x, const auto&) {
                          std::vector<double> y = x;
                          for (std::size_t i = 0; i < y.size(); ++i) y[i] *= mask[i];
                          return y;
                        }});
}

TEST(Dropout, BackwardUsesTheMaskOfTheForward) {
  for (const Device device : devices()) {
    MicroBatchContext context;
    context.random = {.seed = 5, .window = 2, .first_sample = 3};
    Tape tape(context);
    const Tensor x = tensor_of(std::vector<float>(2 * 50, 1.0f), {2, 50}, DType::f32, device);
    std::vector<double> dx;
    tape.record("input", x, [&dx, node = Node(x)](Tape& t) { dx = to_doubles(t.grad(node)); });
    const Tensor y = dropout(tape, x, 0.25f, 7);
    const std::vector<double> mask = to_doubles(y);
    tape.contribute(y, tensor_of(std::vector<float>(2 * 50, 1.0f), {2, 50}, DType::f32, device), add_gradient);
    tape.backward();
    EXPECT_EQ(dx, mask);
    EXPECT_THAT(mask, ::testing::Contains(0.0));
  }
}

TEST(Dropout, IsTheIdentityInEvaluationAndForProbabilityZero) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({2, 50}, 1, DType::f32, device);
    Tape evaluation = Tape::inference(), training;
    EXPECT_EQ(dropout(evaluation, x, 0.5f, 0).id(), x.id());
    EXPECT_EQ(dropout(training, x, 0.0f, 0).id(), x.id());
  }
}

TEST(CrossEntropy, BackwardMatchesFiniteDifferencesOfTheSummedLoss) {
  for (const Device device : devices()) {
    const std::vector<std::int32_t> targets = {2, -1, 0, 4};
    const Tensor x = random_tensor({4, 5}, 1, DType::f32, device);
    const auto reference = [&](const std::vector<double>& logits) {
      double sum = 0;
      for (std::size_t row = 0; row < 4; ++row) {
        if (targets[row] < 0) continue;
        double e = 0;
        for (std::size_t v = 0; v < 5; ++v) e += std::exp(logits[row * 5 + v]);
        sum += std::log(e) - logits[row * 5 + static_cast<std::size_t>(targets[row])];
      }
      return sum;
    };
    const std::vector<double> logits = to_doubles(x);
    Tape tape;
    std::vector<double> dx;
    tape.record("input", x, [&dx, node = Node(x)](Tape& t) { dx = to_doubles(t.grad(node)); });
    const Loss loss = cross_entropy(tape, x, Tensor::from<std::int32_t>(targets, {4}, device));
    EXPECT_EQ(loss.read().count, 3);
    // Three rows of size at most 10, each a few roundings of exp, log and sums of 5.
    EXPECT_NEAR(loss.read().sum, reference(logits), 3 * 10 * 16 * u);
    tape.backward(loss.terms);
    EXPECT_TRUE(within(dx, numeric_gradient(reference, logits), Bound{.absolute = 16 * u}));
    for (std::size_t v = 5; v < 10; ++v) EXPECT_EQ(dx[v], 0);  // the masked row: exactly nothing
  }
}

TEST(CrossEntropy, AnInferenceTapeLeavesTheLogitsAlone) {
  for (const Device device : devices()) {
    Tape tape = Tape::inference();
    const Tensor x = random_tensor({4, 5}, 1, DType::f32, device);
    const std::vector<double> before = to_doubles(x);
    cross_entropy(tape, x, Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 1, 2, 3}, {4}, device));
    EXPECT_EQ(to_doubles(x), before);
  }
}

TEST(Tape, AParameterUnreachedByTheLossIsNotTouched) {
  RandomParameters parameters({{5, 5}, {5, 5}});
  Tape tape;
  const Tensor x = random_tensor({4, 5}, 1);
  linear(tape, x, parameters.all[1]);  // its output goes nowhere
  const Loss loss = cross_entropy(tape, linear(tape, x, parameters.all[0]),
                                  Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 1, 2, 3}, {4}));
  tape.backward(loss.terms);
  EXPECT_FALSE(parameters.all[0].fresh());
  EXPECT_TRUE(parameters.all[1].fresh());
}

TEST(FunctionalErrors, NameOperandRequirementAndActual) {
  RandomParameters parameters({{5, 7}, {6}, {7}});
  Tape tape;
  const Tensor x = random_tensor({2, 4}, 1);
  EXPECT_THAT(error_message([&] { linear(tape, x, parameters.all[0]); }),
              AllOf(HasSubstr("linear"), HasSubstr("x [2, 4]"), HasSubstr("must be 5"), HasSubstr("p0 [5, 7]")));
  EXPECT_THAT(error_message([&] { linear(tape, x, parameters.all[1]); }),
              AllOf(HasSubstr("p1 must have two axes"), HasSubstr("[6]")));
  const Tensor fits = random_tensor({2, 5}, 1);
  EXPECT_THAT(error_message([&] { linear(tape, fits, parameters.all[0], parameters.all[1]); }),
              AllOf(HasSubstr("bias"), HasSubstr("[7]"), HasSubstr("[6]")));
  EXPECT_THAT(error_message([&] { layernorm(tape, x, parameters.all[1], parameters.all[1]); }),
              AllOf(HasSubstr("gamma"), HasSubstr("[4]"), HasSubstr("[6]")));
  EXPECT_THAT(error_message([&] {
                causal_attention(tape, random_tensor({2, 5, 20}, 1), 2);
              }),
              AllOf(HasSubstr("qkv"), HasSubstr("2 heads"), HasSubstr("[2, 5, 20]")));
  EXPECT_THAT(error_message([&] { causal_attention(tape, random_tensor({5, 18}, 1), 2); }), HasSubstr("[5, 18]"));
  EXPECT_THAT(error_message([&] { add(tape, x, fits); }), AllOf(HasSubstr("[2, 4]"), HasSubstr("[2, 5]")));
  EXPECT_THAT(error_message([&] { embedding(tape, x, parameters.all[0]); }),
              AllOf(HasSubstr("ids"), HasSubstr("i32"), HasSubstr("f32")));
  const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 9}, {1, 2});
  EXPECT_THAT(error_message([&] { embedding(tape, ids, parameters.all[0]); }, ErrorKind::bad_data), HasSubstr("9"));
  EXPECT_THAT(error_message([&] {
                cross_entropy(tape, random_tensor({3, 4}, 1), ids);
              }),
              AllOf(HasSubstr("targets"), HasSubstr("3")));
  EXPECT_THAT(error_message(
                  [&] {
                    cross_entropy(tape, random_tensor({2, 4}, 1), ids);
                  },
                  ErrorKind::bad_data),
              HasSubstr("9"));
}

}  // namespace
}  // namespace accrue::nn::nn_functional_test
