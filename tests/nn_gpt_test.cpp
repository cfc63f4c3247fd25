// GPT: names, initial values, configuration, and the whole model against a reference in double.
#include "nn/gpt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/reference_gpt.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::nn::nn_gpt_test {
namespace {

using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double u = unit_roundoff(DType::f32);

// Small enough for finite differences over every parameter.
GptConfig tiny(float dropout = 0) {
  return {.vocabulary = 11, .context = 6, .layers = 2, .heads = 2, .width = 8, .dropout = dropout};
}

// A model whose weights are large enough that no path is negligible: everything initialised, then stirred.
struct TinyGpt {
  TinyGpt(const GptConfig& config, Device device) : model(config) {
    initialize(model, parameters, 5, device);
    std::uint64_t seed = 1;
    for (const Parameter& parameter : parameters.parameters()) {
      const std::vector<float> noise = random_floats(parameter.shape().numel(), ++seed, 0, 0.2f);
      std::vector<float> values = parameter.master().to_vector<float>();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] += noise[i];
      parameter.master().copy_from_host(std::span<const float>(values));
    }
  }
  ReferenceGpt::Weights weights() const {
    ReferenceGpt::Weights all;
    for (const Parameter& parameter : parameters.parameters()) all[parameter.name()] = to_doubles(parameter.master());
    return all;
  }

  Gpt model;
  ParameterStore parameters;
};

// Norm-wise relative error of a chain of d operations, each with sums of at most n terms rounded independently: about
// d * sqrt(n) * u (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), if no operation amplifies. Layernorm's and softmax's
// derivatives of order one are allowed a factor 4. Forward: per layer 2 norms, 4 products, attention (3 steps), GELU, 2
// sums, then norm, head and softmax; backward about twice as many. n <= 64.
double chain_bound(std::int64_t layers, int passes) {
  return 4.0 * passes * static_cast<double>(12 * layers + 3) * std::sqrt(64.0) * u;
}

TEST(Gpt, ParametersHaveHuggingFacesNamesShapesAndOrder) {
  Gpt model(tiny());
  ParameterStore parameters;
  initialize(model, parameters);
  std::vector<std::pair<std::string, Shape>> expected = {{"wte.weight", {11, 8}}, {"wpe.weight", {6, 8}}};
  for (const std::string block : {"h.0.", "h.1."}) {
    expected.insert(expected.end(), {{block + "ln_1.weight", {8}},
                                     {block + "ln_1.bias", {8}},
                                     {block + "attn.c_attn.weight", {8, 24}},
                                     {block + "attn.c_attn.bias", {24}},
                                     {block + "attn.c_proj.weight", {8, 8}},
                                     {block + "attn.c_proj.bias", {8}},
                                     {block + "ln_2.weight", {8}},
                                     {block + "ln_2.bias", {8}},
                                     {block + "mlp.c_fc.weight", {8, 32}},
                                     {block + "mlp.c_fc.bias", {32}},
                                     {block + "mlp.c_proj.weight", {32, 8}},
                                     {block + "mlp.c_proj.bias", {8}}});
  }
  expected.insert(expected.end(), {{"ln_f.weight", {8}}, {"ln_f.bias", {8}}});
  ASSERT_EQ(parameters.parameters().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(parameters.parameters()[i].name(), expected[i].first);
    EXPECT_EQ(parameters.parameters()[i].shape(), expected[i].second) << expected[i].first;
  }
}

TEST(Gpt, Gpt2SmallHasItsPublishedNumberOfParameters) {
  // 124,439,808: the size of GPT-2 small with the head tied. Counted without allocating.
  Gpt model({.vocabulary = 50257, .context = 1024, .layers = 12, .heads = 12, .width = 768});
  ParameterStore parameters;
  model.register_into(Registry(parameters));
  EXPECT_EQ(parameters.parameter_count(), 124439808);
}

TEST(Gpt, StartsAsGpt2WithScaledResidualProjections) {
  Gpt model({.vocabulary = 200, .context = 100, .layers = 8, .heads = 4, .width = 100});
  ParameterStore parameters;
  initialize(model, parameters, 3);
  for (const Parameter& parameter : parameters.parameters()) {
    const std::vector<double> values = to_doubles(parameter.master());
    const auto count = static_cast<double>(values.size());
    double mean = 0, squares = 0;
    for (const double value : values) mean += value / count, squares += value * value / count;
    const std::string& name = parameter.name();
    if (name.ends_with("bias")) {
      EXPECT_EQ(squares, 0) << name;
    } else if (name.find("ln_") != std::string::npos) {
      EXPECT_EQ(values, std::vector<double>(values.size(), 1.0)) << name;
    } else {
      const double deviation = name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(2.0 * 8) : 0.02;
      // The sample deviation of n normal numbers has a standard error of deviation / sqrt(2n); six of them.
      EXPECT_NEAR(std::sqrt(squares), deviation, 6 * deviation / std::sqrt(2 * count)) << name;
      EXPECT_NEAR(mean, 0, 6 * deviation / std::sqrt(count)) << name;
    }
  }
}

TEST(Gpt, ImpossibleConfigurationsAreUsageErrorsThatNameTheOption) {
  const auto message = [](auto change) {
    GptConfig config = tiny();
    change(config);
    return error_message([&] { Gpt model(config); }, ErrorKind::usage);
  };
  EXPECT_THAT(message([](GptConfig& c) { c.vocabulary = 0; }),
              HasSubstr("--vocabulary must be in [1, 16777216], but is 0"));
  EXPECT_THAT(message([](GptConfig& c) { c.context = 0; }), HasSubstr("--context must be in [1, "));
  EXPECT_THAT(message([](GptConfig& c) { c.layers = -1; }), HasSubstr("--layers must be in [1, 10000], but is -1"));
  EXPECT_THAT(message([](GptConfig& c) { c.heads = 0; }), HasSubstr("--heads must be in [1, "));
  EXPECT_THAT(message([](GptConfig& c) { c.width = 0; }), HasSubstr("--width must be in [1, "));
  EXPECT_THAT(message([](GptConfig& c) { c.width = 100, c.heads = 3; }),
              AllOf(HasSubstr("--width 100 is not divisible by --heads 3"), HasSubstr("99"), HasSubstr("102")));
  EXPECT_THAT(message([](GptConfig& c) { c.dropout = 1; }), HasSubstr("--dropout must be in [0, 1), but is 1"));
  EXPECT_THAT(message([](GptConfig& c) { c.dropout = -0.5f; }), HasSubstr("-0.5"));
  EXPECT_THAT(message([](GptConfig& c) { c.dropout = std::numeric_limits<float>::quiet_NaN(); }), HasSubstr("nan"));
}

TEST(Gpt, AWidthBelowTheHeadsNamesOnlyPossibleWidths) {
  GptConfig config = tiny();
  config.width = 2;
  config.heads = 4;
  const std::string message = error_message([&] { config.validate(); }, ErrorKind::usage);
  EXPECT_THAT(message, HasSubstr("the smallest width is 4"));
}

TEST(Gpt, IdsLongerThanTheContextOrOfAnotherRankAreRefused) {
  const TinyGpt gpt(tiny(), Device::cpu());
  Tape tape = Tape::inference();
  const auto ids = [](const Shape& shape) {
    return Tensor::from<std::int32_t>(std::vector<std::int32_t>(static_cast<std::size_t>(shape.numel())), shape);
  };
  EXPECT_THAT(error_message([&] {
                gpt.model.forward(tape, ids({1, 7}));
              }),
              AllOf(HasSubstr("context of 6"), HasSubstr("[1, 7]")));
  EXPECT_THAT(error_message([&] { gpt.model.forward(tape, ids({5})); }), HasSubstr("[5]"));
  EXPECT_THAT(error_message([&] { gpt.model.next_logits(ids({2, 3})); }), HasSubstr("[2, 3]"));
}

TEST(Gpt, TheForwardPassMatchesTheReference) {
  for (const Device device : devices()) {
    for (const float dropout : {0.0f, 0.25f}) {
      const GptConfig config = tiny(dropout);
      const TinyGpt gpt(config, device);
      const auto tokens = random_integers(3 * 5, 11, 4);
      MicroBatchContext context;
      context.random = {.seed = 9, .window = 3, .first_sample = 2};
      Tape tape(context);
      const Tensor logits = gpt.model.forward(tape, Tensor::from<std::int32_t>(tokens, {3, 5}, device));
      const std::vector<double> expected = ReferenceGpt(config, context.random).logits(gpt.weights(), tokens, 3, 5);
      EXPECT_LE(relative_error(to_doubles(logits), expected), chain_bound(config.layers, 1)) << "dropout " << dropout;
    }
  }
}

TEST(Gpt, EveryGradientMatchesFiniteDifferencesOfTheReference) {
  for (const Device device : devices()) {
    for (const float dropout : {0.0f, 0.25f}) {
      const GptConfig config = tiny(dropout);
      const TinyGpt gpt(config, device);
      const auto tokens = random_integers(2 * 4, 11, 6);
      const std::vector<std::int32_t> targets = {1, 4, -1, 9, 0, -1, 10, 3};
      MicroBatchContext context;
      context.random = {.seed = 9, .window = 3, .first_sample = 2};
      const ReferenceGpt reference(config, context.random);
      const ReferenceGpt::Weights weights = gpt.weights();

      Tape tape(context);
      const Loss loss = gpt.model.loss(tape, Tensor::from<std::int32_t>(tokens, {2, 4}, device),
                                       Tensor::from<std::int32_t>(targets, {2, 4}, device));
      EXPECT_EQ(loss.read().count, 6);
      const double expected_loss = reference.loss(weights, tokens, targets, 2, 4);
      EXPECT_NEAR(loss.read().sum, expected_loss, expected_loss * chain_bound(config.layers, 1));
      tape.backward(loss.terms);

      for (const Parameter& parameter : gpt.parameters.parameters()) {
        const std::vector<double> expected = numeric_gradient(
            [&](const std::vector<double>& values) {
              ReferenceGpt::Weights changed = weights;
              changed[parameter.name()] = values;
              return reference.loss(changed, tokens, targets, 2, 4);
            },
            weights.at(parameter.name()));
        EXPECT_LE(relative_error(to_doubles(parameter.grad()), expected), chain_bound(config.layers, 3))
            << parameter.name() << ", dropout " << dropout;
      }
    }
  }
}

TEST(Gpt, DropoutOfAnyKindIsActiveInTrainingOnly) {
  for (const Device device : devices()) {
    const TinyGpt with(tiny(0.5f), device), without(tiny(), device);
    const Tensor ids = Tensor::from<std::int32_t>(random_integers(2 * 6, 11, 7), {2, 6}, device);
    const auto logits = [&](const TinyGpt& gpt, Tape tape) { return bits_of(gpt.model.forward(tape, ids)); };
    EXPECT_EQ(logits(with, Tape::inference()), logits(without, Tape::inference()));
    EXPECT_NE(logits(with, Tape()), logits(without, Tape()));
  }
}

TEST(Gpt, LaterTokensDoNotChangeEarlierLogits) {
  for (const Device device : devices()) {
    const TinyGpt gpt(tiny(), device);
    std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5, 6};
    const auto logits = [&] {
      Tape tape = Tape::inference();
      return bits_of(gpt.model.forward(tape, Tensor::from<std::int32_t>(tokens, {1, 6}, device)));
    };
    const auto before = logits();
    tokens[4] = 10;
    const auto after = logits();
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 4 * 11, after.begin()));
    EXPECT_FALSE(std::equal(before.begin() + 4 * 11, before.end(), after.begin() + 4 * 11));
  }
}

TEST(Gpt, NextLogitsAreTheLastRowOfTheForwardPass) {
  for (const Device device : devices()) {
    const TinyGpt gpt(tiny(0.5f), device);
    for (const std::int64_t time : {1, 4, 6}) {
      const Tensor ids = Tensor::from<std::int32_t>(random_integers(time, 11, 8), {1, time}, device);
      Tape tape = Tape::inference();
      const Tensor all = gpt.model.forward(tape, ids);
      const Tensor next = gpt.model.next_logits(ids);
      EXPECT_EQ(next.shape(), (Shape{11}));
      const Tensor last = all.view({11}, (time - 1) * 11);
      // On a GPU the library may sum a product of one row in another order: the head's 8 terms.
      if (device.kind == DeviceKind::cpu)
        EXPECT_EQ(bits_of(next), bits_of(last));
      else
        EXPECT_LE(relative_error(to_doubles(next), to_doubles(last)), chain_bound(0, 1));
    }
  }
}

}  // namespace
}  // namespace accrue::nn::nn_gpt_test
