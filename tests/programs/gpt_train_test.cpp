// `gpt train`: what it learns, what it logs, and what makes no difference.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/matmul_precision.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptTrain : public GptTest {};

std::set<std::string> keys_of(const nlohmann::json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

TEST_F(GptTrain, LogsOneObjectPerUpdateWithItsNumbers) {
  train("run", {"--steps", "5", "--micro-batch", "2", "--accumulation", "3", "--learning-rate", "0.01"});
  const auto objects = metrics("run");
  ASSERT_EQ(objects.size(), 5u);
  const std::set<std::string> keys = {
      "update",      "window",       "loss",    "grad_norm",  "learning_rate", "tokens_per_second",
      "micro_batch", "accumulation", "targets", "peak_bytes", "loss_scale"};
  for (std::size_t i = 0; i < objects.size(); ++i) {
    SCOPED_TRACE(objects[i].dump());
    EXPECT_EQ(keys_of(objects[i]), keys);
    EXPECT_EQ(objects[i]["update"], i + 1);
    EXPECT_EQ(objects[i].at("window"), i);
    EXPECT_EQ(objects[i]["micro_batch"], 2);
    EXPECT_EQ(objects[i]["accumulation"], 3);
    EXPECT_EQ(objects[i]["targets"], 2 * 3 * context);
    EXPECT_EQ(objects[i]["learning_rate"].get<float>(), 0.01f);
    EXPECT_EQ(objects[i]["loss_scale"], 1);
    EXPECT_GT(objects[i]["grad_norm"].get<double>(), 0);
    EXPECT_GT(objects[i]["tokens_per_second"].get<double>(), 0);
    EXPECT_GT(objects[i]["peak_bytes"].get<std::int64_t>(), 0);
  }
}

TEST_F(GptTrain, CountsTokensAlsoWhenASampleIsOne) {
  const ProcessResult result =
      gpt(training("run", {"--steps", "1", "--layers", "1", "--heads", "1", "--width", "8", "--context", "1"}));
  expect_success(result);
  EXPECT_TRUE(metrics("run").at(0).contains("tokens_per_second"));
}

// bf16 has 8 significant bits: the loss of this model, about ln 256, is off by a few of its units in the last place.
TEST_F(GptTrain, OnTheCpuBf16FollowsFp32) {
  const Arguments recipe = {"--steps", "3", "--micro-batch", "2", "--accumulation", "2", "--device", "cpu"};
  train("fp32", recipe);
  const ProcessResult result = gpt(joined(joined(training("bf16", recipe), tiny_model()), {"--precision", "bf16"}));
  expect_success(result);
  EXPECT_THAT(result.out, ::testing::HasSubstr("products in bf16"));
  if (!kernels::cpu_multiplies_bf16()) {
    EXPECT_THAT(result.err, ::testing::HasSubstr("cannot multiply bf16"));
  }
  expect_close(losses("bf16"), losses("fp32"), 0x1p-6);
  EXPECT_NE(losses("bf16"), losses("fp32"));
}

TEST_F(GptTrain, ResumesInAnotherPrecision) {
  const Arguments recipe = {"--micro-batch", "2", "--accumulation", "2", "--device", "cpu"};
  train("moving", joined(recipe, {"--steps", "2", "--precision", "bf16"}));
  const ProcessResult resumed = gpt(training("moving", joined(recipe, {"--steps", "4", "--resume"})));
  expect_success(resumed);
  EXPECT_THAT(resumed.out + resumed.err, ::testing::HasSubstr("changed --precision: bf16 (products)"));
  train("staying", joined(recipe, {"--steps", "4"}));
  expect_close(losses("moving"), losses("staying"), 0x1p-6);
}

TEST_F(GptTrain, SaysWhatItTrainsAndWhereTheFilesAre) {
  const ProcessResult result =
      gpt(joined(training("run", {"--steps", "2", "--micro-batch", "2", "--global-batch", "6", "--log-every", "1"}),
                 tiny_model()));
  expect_success(result);
  EXPECT_THAT(result.out, ::testing::HasSubstr("GPT 1 layers, 2 heads, width 16, context 8"));
  EXPECT_THAT(result.out, ::testing::HasSubstr("global batch 6 = micro-batch 2 x accumulation 3 x 1 device"));
  EXPECT_THAT(result.out, ::testing::HasSubstr("update 1/2"));
  EXPECT_THAT(result.out, ::testing::HasSubstr("update 2/2"));
  EXPECT_THAT(result.out, ::testing::HasSubstr(path("run/latest")));
  EXPECT_THAT(result.out, ::testing::HasSubstr(path("run/metrics.jsonl")));
}

TEST_F(GptTrain, SaysWhatAWindowReallyHolds) {
  const auto said = [&](const Arguments& options) {
    const ProcessResult result = gpt(joined(training("run", joined({"--steps", "1"}, options)), tiny_model()));
    expect_success(result);
    const nlohmann::json object = metrics("run").at(0);
    std::filesystem::remove_all(folder_ / "run");
    return std::pair(result.out, object);
  };
  const auto [large, of_large] = said({"--global-batch", "64", "--micro-batch", "16"});
  EXPECT_THAT(large, ::testing::HasSubstr("each update sees all 40, in micro-batches of 16"));
  EXPECT_EQ(of_large["targets"], 40 * context);
  const auto [dropped, of_dropped] = said({"--global-batch", "16", "--partial-window", "drop"});
  EXPECT_THAT(dropped, ::testing::HasSubstr("--partial-window drop leaves 8 samples of each epoch out"));
  EXPECT_EQ(of_dropped.at("dropped_per_epoch"), 8);
  // The default micro-batch of 12 and not the largest divisor of 13.
  const auto [ragged, of_ragged] = said({"--ragged", "--global-batch", "13"});
  EXPECT_THAT(ragged, ::testing::HasSubstr("micro-batch 12 x accumulation 2 x 1 device (the last micro-batch has 1)"));
  EXPECT_EQ(of_ragged["accumulation"], 2);
}

TEST_F(GptTrain, LossStartsAtThatOfChanceAndFallsOnTextWithAPattern) {
  write_file(path("text"), alphabet_text(321));
  train("run", {"--steps", "60", "--micro-batch", "8", "--learning-rate", "0.02", "--weight-decay", "0"});
  const std::vector<double> loss = losses("run");
  EXPECT_NEAR(loss.front(), std::log(256.0), 0.1);  // the initial logits are close to 0
  EXPECT_LT(loss.back(), 1.0);
}

TEST_F(GptTrain, FirstLossAndGradientDoNotDependOnTheOptimizer) {
  train("a", {"--steps", "1", "--learning-rate", "0.1", "--clip", "0"});
  train("b", {"--steps", "1", "--learning-rate", "0", "--clip", "0.01", "--beta1", "0"});
  EXPECT_EQ(metrics("a")[0]["loss"], metrics("b")[0]["loss"]);
  EXPECT_EQ(metrics("a")[0]["grad_norm"], metrics("b")[0]["grad_norm"]);  // the norm before clipping
}

TEST_F(GptTrain, FollowsTheSchedule) {
  train("run", {"--steps", "6", "--schedule", "linear", "--warmup", "2", "--learning-rate", "0.008",
                "--min-learning-rate", "0.004"});
  std::vector<double> rates;
  for (const auto& object : metrics("run")) rates.push_back(object["learning_rate"]);
  // Up to the peak over 2 updates, then a straight line that would reach the minimum after 4 more; rounded to f32.
  expect_close(rates, {0.004, 0.008, 0.008, 0.007, 0.006, 0.005}, 0x1p-24);
}

TEST_F(GptTrain, AWsdScheduleWithADecayOfZeroStaysAtItsPeak) {
  train("run", {"--steps", "10", "--schedule", "wsd", "--decay", "0", "--learning-rate", "0.008"});
  for (const auto& object : metrics("run")) EXPECT_EQ(object["learning_rate"].get<float>(), 0.008f);
}

TEST_F(GptTrain, TheSameSeedGivesTheSameBitsAndAnotherSeedOthers) {
  const Arguments options = {"--steps", "4", "--micro-batch", "3", "--dropout", "0.1"};
  train("a", joined(options, {"--seed", "7"}));
  train("b", joined(options, {"--seed", "7"}));
  train("c", joined(options, {"--seed", "8"}));
  EXPECT_EQ(losses("a"), losses("b"));
  EXPECT_EQ(weights("a"), weights("b"));
  EXPECT_NE(losses("a"), losses("c"));
  EXPECT_NE(weights("a"), weights("c"));
}

TEST_F(GptTrain, TheNumberOfThreadsChangesNoBit) {
  for (const char* threads : {"1", "2", "3"}) {
    expect_success(gpt(joined({"train", "--text", path("text"), "--out", path(threads), "--threads", threads, "--steps",
                               "4", "--micro-batch", "6", "--dropout", "0.1"},
                              tiny_model())));
  }
  EXPECT_EQ(losses("1"), losses("2"));
  EXPECT_EQ(weights("1"), weights("2"));
  EXPECT_EQ(losses("1"), losses("3"));
  EXPECT_EQ(weights("1"), weights("3"));
}

TEST_F(GptTrain, RecomputationChangesNoBit) {
  train("kept", {"--steps", "3", "--dropout", "0.1"});
  train("recomputed", {"--steps", "3", "--dropout", "0.1", "--recompute"});
  EXPECT_EQ(losses("kept"), losses("recomputed"));
  EXPECT_EQ(weights("kept"), weights("recomputed"));
}

TEST_F(GptTrain, MicroBatchWithAccumulationIsMicroBatchWithGlobalBatch) {
  const Arguments options = {"--steps", "3", "--learning-rate", "0.01"};
  train("a", joined(options, {"--micro-batch", "2", "--accumulation", "3"}));
  train("b", joined(options, {"--micro-batch", "2", "--global-batch", "6"}));
  train("c", joined(options, {"--accumulation", "3", "--global-batch", "6"}));
  EXPECT_EQ(weights("a"), weights("b"));
  EXPECT_EQ(weights("a"), weights("c"));
  for (const char* run : {"a", "b", "c"}) {
    EXPECT_EQ(metrics(run)[0]["micro_batch"], 2) << run;
    EXPECT_EQ(metrics(run)[0]["accumulation"], 3) << run;
  }
}

TEST_F(GptTrain, EverySplitOfAWindowTrainsAlike) {
  const Arguments options = {"--steps", "6", "--global-batch", "8", "--learning-rate", "0.003", "--dropout", "0.1"};
  train("whole", joined(options, {"--micro-batch", "8"}));
  const std::vector<double> expected = losses("whole");
  const std::vector<Arguments> splits = {
      {"--micro-batch", "1"}, {"--micro-batch", "4"}, {"--micro-batch", "3", "--ragged"}};
  for (std::size_t i = 0; i < splits.size(); ++i) {
    SCOPED_TRACE(shown(splits[i]));
    const std::string run = "split" + std::to_string(i);
    train(run, joined(options, splits[i]));
    expect_close(losses(run), expected, rounding);
    for (const auto& object : metrics(run)) EXPECT_EQ(object["targets"], 8 * context);
  }
}

TEST_F(GptTrain, AveragingMicroBatchMeansDiffersOnlyWhenMicroBatchesAreUnequal) {
  const Arguments options = {"--steps", "3", "--global-batch", "8", "--learning-rate", "0.01"};
  const Arguments means = {"--normalisation", "micro-batches"};
  train("targets", joined(options, {"--micro-batch", "4"}));
  train("means", joined(joined(options, {"--micro-batch", "4"}), means));
  expect_close(losses("means"), losses("targets"), rounding);

  train("ragged", joined(options, {"--micro-batch", "7", "--ragged"}));
  train("ragged means", joined(joined(options, {"--micro-batch", "7", "--ragged"}), means));
  // The single sample of the last micro-batch weighs 7 times too much: the gradient's norm is another one from the
  // start.
  const double right = metrics("ragged")[0]["grad_norm"], wrong = metrics("ragged means")[0]["grad_norm"];
  EXPECT_GT(std::abs(right - wrong), 100 * rounding * right);
}

TEST_F(GptTrain, MemoryDependsOnTheMicroBatchAlone) {
  const auto peak = [&](const char* run, const Arguments& batch) {
    train(run, joined({"--steps", "2"}, batch));
    return metrics(run).back()["peak_bytes"].get<std::int64_t>();
  };
  const std::int64_t one = peak("4x1", {"--micro-batch", "4", "--accumulation", "1"});
  const std::int64_t nine = peak("4x9", {"--micro-batch", "4", "--accumulation", "9"});
  const std::int64_t large = peak("36x1", {"--micro-batch", "36", "--accumulation", "1"});
  EXPECT_EQ(nine, one);
  EXPECT_GT(large, 2 * one);
}

TEST_F(GptTrain, ValidatesOnTheEndOfTheText) {
  train("run", {"--steps", "5", "--validation-fraction", "0.25", "--evaluate-every", "2", "--learning-rate", "0"});
  std::vector<bool> validated;
  for (const auto& object : metrics("run")) validated.push_back(object.contains("validation_loss"));
  EXPECT_EQ(validated, (std::vector<bool>{false, true, false, true, true}));  // and after the last update

  const std::string text = mixed_text(samples * context + 1);
  write_file(path("end"), text.substr(text.size() - text.size() / 4));
  const ProcessResult eval = gpt({"eval", "--checkpoint", path("run"), "--text", path("end"), "--json"});
  expect_success(eval);
  const double expected = nlohmann::json::parse(eval.out)["loss"];
  EXPECT_NEAR(metrics("run").back()["validation_loss"].get<double>(), expected, rounding * expected);
}

TEST_F(GptTrain, EpochsEndAsThePolicySays) {
  const Arguments options = {"--steps", "4", "--global-batch", "16", "--micro-batch", "8"};  // 40 = 16 + 16 + 8 samples
  const auto targets = [&](const char* policy) {
    train(policy, joined(options, {"--partial-window", policy}));
    std::vector<std::int64_t> windows;
    for (const auto& object : metrics(policy)) windows.push_back(object["targets"].get<std::int64_t>() / context);
    return windows;
  };
  EXPECT_EQ(targets("step"), (std::vector<std::int64_t>{16, 16, 8, 16}));
  EXPECT_EQ(targets("drop"), (std::vector<std::int64_t>{16, 16, 16, 16}));
  EXPECT_EQ(targets("carry"), (std::vector<std::int64_t>{16, 16, 16, 16}));
}

TEST_F(GptTrain, EndsWithCode70WhenTheWeightsExplode) {
  const ProcessResult result =
      gpt(joined(training("run", {"--steps", "100", "--learning-rate", "1e30"}), tiny_model()));
  expect_error(result, ErrorKind::numeric, {"not finite in 20 windows in a row", "--learning-rate"});
  EXPECT_THAT(result.out, ::testing::HasSubstr("skipped"));
  // The weights from before the windows that failed are kept, and their counters fit the log.
  const nlohmann::json state = nlohmann::json::parse(read_file(folder_ / "run/latest/state.json"));
  EXPECT_GE(state["skipped"], 20);
  EXPECT_EQ(state["update"], metrics("run").back()["update"]);
  EXPECT_EQ(state["window"], std::ssize(metrics("run")));
}

}  // namespace
}  // namespace accrue::testing
