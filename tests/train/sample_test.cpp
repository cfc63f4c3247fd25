#include "train/sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/testing/sweep.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::devices;
using accrue::testing::error_of;
using ::testing::HasSubstr;

TEST(ChooseToken, TemperatureZeroTakesTheLargestLogitAndTheFirstOfEquals) {
  const std::vector<float> logits = {1, 3, 3, 2};
  for (const double uniform : {0.0, 0.5, 0.999}) EXPECT_EQ(choose_token(logits, {.temperature = 0}, uniform), 1);
}

TEST(ChooseToken, DrawsFromTheSoftmaxByCumulativeProbability) {
  // exp: 1, 2, 1 -> ranked 1, 0, 2 with cumulative probabilities 1/2, 3/4, 1.
  const std::vector<float> logits = {0, std::log(2.0f), 0};
  const SamplingOptions options{.temperature = 1};
  EXPECT_EQ(choose_token(logits, options, 0.0), 1);
  EXPECT_EQ(choose_token(logits, options, 0.49), 1);
  EXPECT_EQ(choose_token(logits, options, 0.51), 0);
  EXPECT_EQ(choose_token(logits, options, 0.74), 0);
  EXPECT_EQ(choose_token(logits, options, 0.76), 2);
  EXPECT_EQ(choose_token(logits, options, std::nextafter(1.0, 0.0)), 2);
}

TEST(ChooseToken, TemperatureDividesTheLogits) {
  // At temperature 1/2 the ratio of 2 becomes 4: probabilities 4/6, 1/6, 1/6.
  const std::vector<float> logits = {0, std::log(2.0f), 0};
  EXPECT_EQ(choose_token(logits, {.temperature = 0.5}, 0.66), 1);
  EXPECT_EQ(choose_token(logits, {.temperature = 0.5}, 0.67), 0);
}

TEST(ChooseToken, TopKLeavesTheOthersOut) {
  const std::vector<float> logits = {0, 2, 1, -1};
  for (double uniform = 0; uniform < 1; uniform += 0.01) {
    EXPECT_EQ(choose_token(logits, {.temperature = 1, .top_k = 1}, uniform), 1);
    const auto of_two = choose_token(logits, {.temperature = 1, .top_k = 2}, uniform);
    EXPECT_TRUE(of_two == 1 || of_two == 2);
  }
  EXPECT_EQ(choose_token(logits, {.temperature = 1, .top_k = 100}, std::nextafter(1.0, 0.0)), 3);
}

TEST(ChooseToken, LogitsOfAnySizeDoNotOverflow) {
  EXPECT_EQ(choose_token(std::vector<float>{3e38f, -3e38f}, {.temperature = 0.1}, 0.999), 0);
  EXPECT_EQ(choose_token(std::vector<float>{-HUGE_VALF, 0}, {.temperature = 1}, 0.999), 1);
}

TEST(ChooseToken, LogitsOfADivergedModelAreANumericError) {
  const auto message = [](const std::vector<float>& logits) {
    return error_of(ErrorKind::numeric, [&] { choose_token(logits, {}, 0.5); });
  };
  EXPECT_THAT(message({0, std::nanf("")}), HasSubstr("token 1 is nan"));
  EXPECT_THAT(message({HUGE_VALF, 0}), HasSubstr("token 0 is inf"));
  EXPECT_THAT(message({-HUGE_VALF, -HUGE_VALF}), HasSubstr("every logit"));
}

struct TextModel {
  explicit TextModel(std::int64_t vocabulary = 256, Device on = Device::cpu())
      : model({.vocabulary = vocabulary, .context = 8, .layers = 1, .heads = 2, .width = 16}), device(on) {
    nn::initialize(model, parameters, 4, device);
    // Larger matrices: an untrained model is nearly uniform, which would hide what the context does.
    for (const Parameter& parameter : parameters.parameters()) {
      if (!parameter.decays()) continue;
      std::vector<float> values = parameter.master().to_vector<float>();
      for (float& value : values) value *= 20;
      parameter.master().copy_from_host(std::span<const float>(values));
    }
  }
  std::string text(std::string_view prompt, const SamplingOptions& options) const {
    std::string all;
    generate(model, prompt, options, device, [&](std::string_view piece) { all += piece; });
    return all;
  }
  nn::Gpt model;
  ParameterStore parameters;
  Device device;
};

TEST(Generate, EmitsOneByteATokenAndTheSameTextForTheSameSeed) {
  for (const Device device : devices()) {
    const TextModel sampler(256, device);
    const SamplingOptions options{.tokens = 40, .temperature = 1.0, .seed = 5};
    const std::string text = sampler.text("ab", options);
    EXPECT_EQ(text.size(), 40u);
    EXPECT_EQ(sampler.text("ab", options), text);
    EXPECT_NE(sampler.text("ab", {.tokens = 40, .temperature = 1.0, .seed = 6}), text);
    // A shorter request is the beginning of the longer one.
    EXPECT_EQ(sampler.text("ab", {.tokens = 10, .temperature = 1.0, .seed = 5}), text.substr(0, 10));
  }
}

TEST(Generate, TheModelSeesTheLastContextBytesOnly) {
  const TextModel sampler;
  const SamplingOptions options{.tokens = 20, .temperature = 0};
  EXPECT_EQ(sampler.text("what came before 12345678", options), sampler.text("12345678", options));
}

TEST(Generate, AnEmptyPromptStartsFromANewline) {
  const TextModel sampler;
  const SamplingOptions options{.tokens = 20, .temperature = 0};
  EXPECT_EQ(sampler.text("", options), sampler.text("\n", options));
}

TEST(Generate, NoTokensEmitNothing) { EXPECT_EQ(TextModel().text("a", {.tokens = 0}), ""); }

TEST(Generate, APromptByteOutsideTheVocabularyIsBadData) {
  const TextModel sampler(100);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { sampler.text("z", {}); }),
              ::testing::AllOf(HasSubstr("byte 122"), HasSubstr("vocabulary of 100")));
}

TEST(Generate, AModelWithMoreTokensThanBytesEmitsBytes) {
  const TextModel sampler(300);
  EXPECT_EQ(sampler.text("a", {.tokens = 50, .temperature = 10}).size(), 50u);
}

}  // namespace
}  // namespace accrue::train
