// Layers: names, initial values, Sequential, Mlp; tapes and memory.
#include "nn/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nn/gradients.h"
#include "nn/mlp.h"
#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::nn::nn_layers_test {
namespace {

using namespace accrue::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double u = unit_roundoff(DType::f32);

std::vector<std::string> names_of(const ParameterStore& parameters) {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters.parameters()) names.push_back(parameter.name());
  return names;
}

// Mean and standard deviation over the elements.
std::pair<double, double> moments(const Tensor& tensor) {
  const std::vector<double> values = to_doubles(tensor);
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean) / static_cast<double>(values.size());
  return {mean, std::sqrt(squares)};
}

TEST(Sequential, NamesParametersByIndexAndPassesOverModulesWithoutAny) {
  Sequential model(Embedding(7, 4), LayerNorm(4), Gelu(), Linear(4, 3), Relu(), Dropout(0.5f), Linear(3, 2, Bias::no));
  ParameterStore parameters;
  initialize(model, parameters);
  EXPECT_THAT(names_of(parameters), ElementsAre("0.weight", "1.weight", "1.bias", "3.weight", "3.bias", "6.weight"));
  EXPECT_EQ(parameters.find("0.weight").shape(), (Shape{7, 4}));
  EXPECT_EQ(parameters.find("3.weight").shape(), (Shape{4, 3}));
  EXPECT_EQ(parameters.parameter_count(), 7 * 4 + 2 * 4 + 4 * 3 + 3 + 3 * 2);
}

TEST(Sequential, AppliesItsModulesInOrder) {
  for (const Device device : devices()) {
    Sequential model(Linear(4, 3), Relu(), Linear(3, 2));
    ParameterStore parameters;
    initialize(model, parameters, 3, device);
    const Tensor x = random_tensor({5, 4}, 1, DType::f32, device);
    Tape one, other;
    const Tensor by_hand =
        linear(other, relu(other, linear(other, x, parameters.find("0.weight"), parameters.find("0.bias"))),
               parameters.find("2.weight"), parameters.find("2.bias"));
    EXPECT_EQ(bits_of(model.forward(one, x)), bits_of(by_hand));
  }
}

TEST(Sequential, NestsWithNamesOfBothLevels) {
  Sequential model(Sequential(Linear(2, 2)), Linear(2, 2));
  ParameterStore parameters;
  initialize(model, parameters);
  EXPECT_THAT(names_of(parameters), ElementsAre("0.0.weight", "0.0.bias", "1.weight", "1.bias"));
}

TEST(Layers, StartAsTheirDocumentationSays) {
  Sequential model(Linear(400, 300), Embedding(300, 400), LayerNorm(64), Linear(400, 300, Initializer::normal(0.5f)));
  ParameterStore parameters;
  initialize(model, parameters, 9);
  // Uniform in +-1/sqrt(in): deviation 1/(20 sqrt 3). 120,000 draws give the deviation to 0.3 % (6 standard errors,
  // fourth moment of the uniform 1.8, of the normal 3) or 1.3 %, and the mean to 6 deviations / sqrt(count).
  const auto [mean, deviation] = moments(parameters.find("0.weight").master());
  EXPECT_NEAR(deviation, 0.05 / std::sqrt(3.0), 0.01 * 0.05);
  EXPECT_NEAR(mean, 0, 6 * deviation / std::sqrt(120000.0));
  for (const double value : to_doubles(parameters.find("0.weight").master()))
    ASSERT_LE(std::abs(value), 0.05 * (1 + 2 * u));
  for (const double value : to_doubles(parameters.find("0.bias").master()))
    ASSERT_LE(std::abs(value), 0.05 * (1 + 2 * u));
  EXPECT_NEAR(moments(parameters.find("1.weight").master()).second, 1.0, 0.013);
  EXPECT_EQ(to_doubles(parameters.find("2.weight").master()), std::vector<double>(64, 1.0));
  EXPECT_EQ(to_doubles(parameters.find("2.bias").master()), std::vector<double>(64, 0.0));
  EXPECT_NEAR(moments(parameters.find("3.weight").master()).second, 0.5, 0.013 * 0.5);
  EXPECT_EQ(to_doubles(parameters.find("3.bias").master()), std::vector<double>(300, 0.0));
}

TEST(Layers, InitialValuesDependOnTheSeedAndOnNothingElse) {
  const auto weights = [](std::uint64_t seed) {
    Linear layer(8, 8);
    ParameterStore parameters;
    initialize(layer, parameters, seed);
    return bits_of(parameters.master());
  };
  EXPECT_EQ(weights(1), weights(1));
  EXPECT_NE(weights(1), weights(2));
}

TEST(Layers, ADropoutProbabilityOutsideTheUnitIntervalIsRefused) {
  EXPECT_THAT(error_message([] { Dropout layer(1.0f); }), HasSubstr("p must be in [0, 1), but is 1"));
  EXPECT_THAT(error_message([] { Dropout layer(-0.1f); }), HasSubstr("-0.1"));
  EXPECT_THAT(error_message([] { Dropout layer(std::nanf("")); }), HasSubstr("nan"));
}

TEST(Layers, AParameterBeforeAllocationIsAnErrorThatNamesIt) {
  Linear layer(2, 2);
  ParameterStore parameters;
  layer.register_into(Registry(parameters));
  Tape tape;
  EXPECT_THAT(error_message([&] {
                layer.forward(tape, random_tensor({1, 2}, 1));
              }),
              HasSubstr("weight is used before"));
}

TEST(Mlp, NamesItsLayersAndStartsAsDocumented) {
  Mlp model({784, 300, 10});
  ParameterStore parameters;
  initialize(model, parameters, 2);
  EXPECT_THAT(names_of(parameters),
              ElementsAre("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"));
  EXPECT_EQ(parameters.find("layers.0.weight").shape(), (Shape{784, 300}));
  EXPECT_NEAR(moments(parameters.find("layers.0.weight").master()).second, std::sqrt(2.0 / 784),
              0.01 * std::sqrt(2.0 / 784));
  for (const double value : to_doubles(parameters.find("layers.1.weight").master()))
    ASSERT_LE(std::abs(value), 1 / std::sqrt(300.0) * (1 + 2 * u));
}

TEST(Mlp, NeedsAnInputAndAnOutputWidth) {
  EXPECT_THAT(error_message([] { Mlp model({5}); }),
              HasSubstr("at least an input and an output width are needed, but got 1"));
}

TEST(Mlp, ForwardAndBackwardMatchAReferenceInDouble) {
  for (const Device device : devices()) {
    const std::vector<std::size_t> widths = {6, 9, 7, 4};
    Mlp model({6, 9, 7, 4});
    ParameterStore parameters;
    initialize(model, parameters, 4, device);
    const Samples samples = class_samples(5, 6, 4, 8, device);
    const std::vector<double> inputs = to_doubles(samples.inputs), targets = to_doubles(samples.targets);
    // All parameters as one vector: weight, bias of each layer.
    std::vector<double> flat;
    for (const Parameter& p : parameters.parameters())
      for (const double value : to_doubles(p.value())) flat.push_back(value);
    const auto reference = [&](const std::vector<double>& weights) {
      double sum = 0;
      for (std::size_t s = 0; s < 5; ++s) {
        std::vector<double> x(inputs.begin() + static_cast<std::ptrdiff_t>(s * 6),
                              inputs.begin() + static_cast<std::ptrdiff_t>((s + 1) * 6));
        std::size_t at = 0;
        for (std::size_t layer = 0; layer + 1 < widths.size(); ++layer) {
          std::vector<double> y(widths[layer + 1]);
          for (std::size_t o = 0; o < y.size(); ++o) y[o] = weights[at + x.size() * y.size() + o];
          for (std::size_t i = 0; i < x.size(); ++i)
            for (std::size_t o = 0; o < y.size(); ++o) y[o] += x[i] * weights[at + i * y.size() + o];
          at += x.size() * y.size() + y.size();
          if (layer + 2 < widths.size())
            for (double& value : y) value = std::max(value, 0.0);
          x = y;
        }
        double exponentials = 0;
        for (const double value : x) exponentials += std::exp(value);
        sum += std::log(exponentials) - x[static_cast<std::size_t>(targets[s])];
      }
      return sum;
    };
    Tape tape;
    const Loss loss = cross_entropy(tape, model.forward(tape, samples.inputs), samples.targets);
    // Six products of at most 9 terms, operands of size about 3 at most, over 5 samples.
    const Bound bound{.absolute = 5 * 3 * 64 * u};
    EXPECT_NEAR(loss.read().sum, reference(flat), bound.absolute);
    tape.backward(loss.terms);
    std::vector<double> actual;
    for (const Parameter& p : parameters.parameters())
      for (const double value : to_doubles(p.grad())) actual.push_back(value);
    EXPECT_TRUE(within(actual, numeric_gradient(reference, flat), bound));
  }
}

TEST(Mlp, DropoutIsActiveInTrainingOnly) {
  Mlp model({6, 64, 4}, 0.5f);
  ParameterStore parameters;
  initialize(model, parameters, 4);
  const Tensor x = random_tensor({3, 6}, 1);
  Tape training, evaluation = Tape::inference(), again = Tape::inference();
  const auto evaluated = bits_of(model.forward(evaluation, x));
  EXPECT_NE(bits_of(model.forward(training, x)), evaluated);
  EXPECT_EQ(bits_of(model.forward(again, x)), evaluated);
}

// Activations that are live while a function runs, and after it, beyond those that were live before.
struct Growth {
  std::size_t peak, kept;
};
template <class Function>
Growth growth(Device device, Function&& function) {
  Allocator& allocator = Allocator::of(device);
  allocator.reset_peak();
  const std::size_t before = allocator.stats()[Category::activations].live;
  const auto result = function();
  const MemoryStats::Usage usage = allocator.stats()[Category::activations];
  return {.peak = usage.peak - before, .kept = usage.live - before};
}

TEST(Tape, AnInferenceTapeFreesEachActivationOnceTheNextLayerHasReadIt) {
  for (const Device device : devices()) {
    Sequential model(Linear(64, 64), Gelu(), Linear(64, 64), Gelu(), Linear(64, 64), Gelu(), Linear(64, 64));
    ParameterStore parameters;
    initialize(model, parameters, 1, device);
    const Tensor x = random_tensor({32, 64}, 1, DType::f32, device);
    const std::size_t activation = 32 * 64 * sizeof(float);
    const Growth inference = growth(device, [&] {
      Tape tape = Tape::inference();
      return model.forward(tape, x);
    });
    EXPECT_EQ(inference.kept, activation);  // the result and nothing else
    EXPECT_LE(inference.peak, 3 * activation);
    const Growth training = growth(device, [&, tape = Tape()]() mutable {
      Tensor y = model.forward(tape, x);
      return std::pair(std::move(tape), y);
    });
    EXPECT_EQ(training.kept, 7 * activation);  // six for the backward pass, and the result
  }
}

TEST(Tape, BackwardReturnsAllMemoryButTheLoss) {
  for (const Device device : devices()) {
    Mlp model({16, 32, 4});
    ParameterStore parameters;
    initialize(model, parameters, 1, device);
    const Samples samples = class_samples(8, 16, 4, 1, device);
    const Growth window = growth(device, [&] {
      Tape tape;
      Loss loss = cross_entropy(tape, model.forward(tape, samples.inputs), samples.targets);
      tape.backward(loss.terms);
      return loss;
    });
    EXPECT_EQ(window.kept, Allocator::alignment);  // the 16 bytes of the loss's terms
  }
}

}  // namespace
}  // namespace accrue::nn::nn_layers_test
