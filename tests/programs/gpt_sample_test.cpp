// `gpt sample`: prompts, choices, seeds.
#include <set>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptSample : public GptTest {
 protected:
  // A model that has learnt the alphabet; from a file, because ctest runs every test in a process of its own.
  GptSample() {
    write_file(path("text"), alphabet_text(321));
    train("run", {"--steps", "150", "--micro-batch", "8", "--learning-rate", "0.02", "--weight-decay", "0"});
  }
  ProcessResult run_sample(const std::string& prompt, const Arguments& options) const {
    return gpt(joined({"sample", "--checkpoint", path("run"), "--prompt", prompt}, options));
  }
  // What follows the prompt, without the line's end that `sample` adds.
  std::string continuation(const std::string& prompt, const Arguments& options) const {
    const ProcessResult result = run_sample(prompt, options);
    expect_success(result);
    if (!result.out.starts_with(prompt) || !result.out.ends_with('\n')) {
      ADD_FAILURE() << "not the prompt, its continuation and a line's end: " << result.out;
      return {};
    }
    return result.out.substr(prompt.size(), result.out.size() - prompt.size() - 1);
  }
};

TEST_F(GptSample, ContinuesWhatItHasLearnt) {
  EXPECT_EQ(continuation("efgh", {"--temperature", "0", "--tokens", "12"}), "ijklmnopqrst");
}

TEST_F(GptSample, OfTemperatureZeroDependsOnNoSeed) {
  const Arguments greedy = {"--temperature", "0", "--tokens", "20"};
  const std::string expected = continuation("zx", greedy);
  EXPECT_EQ(continuation("zx", joined(greedy, {"--seed", "1"})), expected);
  EXPECT_EQ(continuation("zx", joined(greedy, {"--seed", "2", "--top-k", "3"})), expected);
  EXPECT_EQ(continuation("zx", {"--tokens", "20", "--top-k", "1", "--temperature", "5"}), expected);
}

TEST_F(GptSample, RepeatsItselfWithTheSameSeedOnly) {
  const Arguments hot = {"--temperature", "3", "--tokens", "30"};
  const std::string expected = continuation("a", joined(hot, {"--seed", "1"}));
  EXPECT_EQ(continuation("a", joined(hot, {"--seed", "1", "--threads", "1"})), expected);
  EXPECT_NE(continuation("a", joined(hot, {"--seed", "2"})), expected);
}

TEST_F(GptSample, TopKLeavesTheOthersOut) {
  std::set<std::string> seen;
  for (int seed = 0; seed < 8; ++seed)
    seen.insert(continuation(
        "abc", {"--temperature", "1000000", "--top-k", "2", "--tokens", "1", "--seed", std::to_string(seed)}));
  EXPECT_EQ(seen.size(),
            2u);  // both as likely as the other: all eight alike has a chance of 1 in 128, and the seeds are fixed
  EXPECT_TRUE(seen.contains("d"));
}

TEST_F(GptSample, SeesTheEndOfAPromptLongerThanTheContext) {
  const std::string prompt = mixed_text(50) + "qrstuvwx";
  const Arguments options = {"--temperature", "1", "--tokens", "20", "--seed", "4"};
  EXPECT_EQ(continuation(prompt, options), continuation("qrstuvwx", options));
}

TEST_F(GptSample, OfNoTokensIsThePrompt) { EXPECT_EQ(continuation("Hello, world", {"--tokens", "0"}), ""); }

TEST_F(GptSample, StartsWithoutAPrompt) { EXPECT_EQ(continuation("", {"--tokens", "9"}).size(), 9u); }

TEST_F(GptSample, TakesAnyBytesAsAPrompt) {
  for (const std::string& prompt : {std::string("\xff\xfe\x80"), std::string("größer"), std::string("--tokens"),
                                    std::string("-"), std::string("a b\nc")})
    EXPECT_EQ(continuation(prompt, {"--tokens", "3"}).size(), 3u) << prompt;
}

TEST_F(GptSample, RefusesAPromptOutsideTheVocabulary) {
  expect_success(gpt(training("small", joined(tiny_model(), {"--steps", "1", "--vocabulary", "128"}))));
  const ProcessResult result = gpt({"sample", "--checkpoint", path("small"), "--prompt", "ab\xc8", "--tokens", "2"});
  expect_error(result, ErrorKind::bad_data, {"--prompt", "200", "128"});
}

TEST_F(GptSample, FromWeightsIsAsFromTheCheckpoint) {
  const Arguments options = {"--temperature", "1", "--tokens", "20", "--prompt", "abc"};
  const ProcessResult checkpoint = gpt(joined({"sample", "--checkpoint", path("run")}, options));
  const ProcessResult file =
      gpt(joined({"sample", "--weights", path("run/model.safetensors"), "--heads", "2"}, options));
  expect_success(checkpoint);
  expect_success(file);
  EXPECT_EQ(file.out, checkpoint.out);
}

}  // namespace
}  // namespace accrue::testing
