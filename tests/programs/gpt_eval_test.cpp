// `gpt eval`, and with it which tokens a sample of `gpt train` has.
#include "tests/programs/programs.h"
#include "train/sealed_folder.h"

namespace accrue::testing {
namespace {

class GptEval : public GptTest {
 protected:
  struct Evaluation {
    double loss = 0;
    std::int64_t targets = 0;
  };
  Evaluation evaluate(const std::string& text, const Arguments& options = {}) const {
    write_file(path("evaluated"), text);
    const ProcessResult result =
        gpt(joined({"eval", "--checkpoint", path("run"), "--text", path("evaluated"), "--json"}, options));
    expect_success(result);
    const nlohmann::json object = nlohmann::json::parse(result.out);
    EXPECT_EQ(object.size(), 2u) << result.out;
    return {.loss = object.at("loss"), .targets = object.at("targets")};
  }
};

TEST_F(GptEval, CountsTheTargetsOfWholeSamples) {
  train("run", {"--steps", "1"});
  EXPECT_EQ(evaluate(mixed_text(context + 1)).targets, context);
  EXPECT_EQ(evaluate(mixed_text(2 * context)).targets, context);  // the last target of a second sample is missing
  EXPECT_EQ(evaluate(mixed_text(2 * context + 1)).targets, 2 * context);
  EXPECT_EQ(evaluate(mixed_text(21 * context + 5)).targets, 21 * context);
}

TEST_F(GptEval, LossDoesNotDependOnTheMicroBatch) {
  train("run", {"--steps", "1"});
  const std::string text = mixed_text(21 * context + 5);
  const double loss = evaluate(text).loss;
  for (const char* micro : {"1", "4", "100"})
    EXPECT_NEAR(evaluate(text, {"--micro-batch", micro}).loss, loss, rounding * loss) << micro;
}

TEST_F(GptEval, PrintsTheSameForReaders) {
  train("run", {"--steps", "1"});
  const Evaluation expected = evaluate(mixed_text(100));
  const ProcessResult result = gpt({"eval", "--checkpoint", path("run"), "--text", path("evaluated")});
  expect_success(result);
  EXPECT_EQ(result.out, fmt::format("loss {:.6f} over {} targets (perplexity {:.3f})\n", expected.loss,
                                    expected.targets, std::exp(expected.loss)));
}

// Sample i of a text of N samples is tokens [i * context, i * context + context), its targets the same range one later;
// update u (from 0) of a run on sequential data has samples [u * G, u * G + G) modulo N. The weights stand still, so
// that `gpt eval` of a piece of the text, cut out as that says, gives the loss of its sample.
TEST_F(GptEval, SequentialUpdatesSeeTheSamplesInOrderAndWrapAround) {
  constexpr std::size_t count = 5, global = 3, updates = 5;
  const std::string text = mixed_text(count * context + 4);  // a tail too short for a sample
  write_file(path("text"), text);
  train("run", {"--steps", std::to_string(updates), "--global-batch", std::to_string(global), "--micro-batch", "1",
                "--data-order", "sequential", "--learning-rate", "0", "--weight-decay", "0"});
  std::vector<double> of_sample;
  for (std::size_t i = 0; i < count; ++i) of_sample.push_back(evaluate(text.substr(i * context, context + 1)).loss);
  std::vector<double> expected;
  for (std::size_t update = 0; update < updates; ++update) {
    double sum = 0;
    for (std::size_t i = 0; i < global; ++i) sum += of_sample[(update * global + i) % count];
    expected.push_back(sum / global);
  }
  expect_close(losses("run"), expected, rounding);
  // The test would see a wrong sample: no two windows have losses as close as that.
  for (std::size_t a = 0; a < updates; ++a)
    for (std::size_t b = 0; b < a; ++b) EXPECT_GT(std::abs(expected[a] - expected[b]), 3 * rounding * expected[a]);
}

TEST_F(GptEval, ShuffledEpochsSeeEverySampleOnce) {
  train("run", {"--steps", "3", "--global-batch", "40", "--micro-batch", "8", "--learning-rate", "0"});
  const double whole = evaluate(mixed_text(samples * context + 1)).loss;
  expect_close(losses("run"), {whole, whole, whole}, rounding);

  train("halves", {"--steps", "4", "--global-batch", "20", "--micro-batch", "10", "--learning-rate", "0"});
  const std::vector<double> half = losses("halves");
  EXPECT_NEAR((half[0] + half[1]) / 2, whole, rounding * whole);
  EXPECT_NEAR((half[2] + half[3]) / 2, whole, rounding * whole);
  EXPECT_GT(std::abs(half[0] - half[2]), 3 * rounding * whole);  // each epoch in another order
}

TEST_F(GptEval, LossIsShownWhenItIsNotFinite) {
  train("run", {"--steps", "1"});
  const std::filesystem::path file = folder_ / "run/latest/model.safetensors";
  std::string content = read_file(file);
  content.replace(content.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));  // a NaN
  write_file(file, content);
  expect_error(gpt({"eval", "--checkpoint", path("run"), "--text", path("text")}), ErrorKind::bad_data,
               {"model.safetensors is damaged", "name an older checkpoint"});
  train::seal_folder(folder_ / "run/latest");
  const ProcessResult json = gpt({"eval", "--checkpoint", path("run"), "--text", path("text"), "--json"});
  EXPECT_EQ(json.exit_code, static_cast<int>(ErrorKind::numeric));
  EXPECT_THAT(json.err, ::testing::HasSubstr("not finite: these weights are of no use"));
  EXPECT_EQ(nlohmann::json::parse(json.out).at("loss"), "NaN");
  EXPECT_THAT(gpt({"eval", "--checkpoint", path("run"), "--text", path("text")}).out, ::testing::HasSubstr("loss nan"));
}

}  // namespace
}  // namespace accrue::testing
