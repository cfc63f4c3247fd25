// `mlp train` and `mlp eval` on images of bars.
#include <nlohmann/json.hpp>
#include <set>

#include "tests/programs/images.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class MlpProgram : public ::testing::Test {
 protected:
  MlpProgram() { write_bars(folder_ / "data"); }

  std::string path(std::string_view name) const { return (folder_ / name).string(); }
  static ProcessResult mlp(const Arguments& arguments) { return run_program("mlp", arguments); }
  ProcessResult train(std::string_view run, const Arguments& options) const {
    return mlp(
        joined({"train", "--out", path(run), "--hidden", "16", "--learning-rate", "0.01", "--threads", "1"}, options));
  }
  ProcessResult train_bars(std::string_view run, const Arguments& options) const {
    return train(run, joined({"--data", path("data"), "--warmup", "0"}, options));
  }
  nlohmann::json evaluation(std::string_view run, const Arguments& options = {}) const {
    const ProcessResult result =
        mlp(joined({"eval", "--checkpoint", path(run), "--data", path("data"), "--json"}, options));
    expect_success(result);
    return nlohmann::json::parse(result.out);
  }
  std::vector<double> losses(std::string_view run) const {
    std::vector<double> values;
    for (const auto& object : read_json_lines(folder_ / run / "metrics.jsonl")) values.push_back(object.at("loss"));
    return values;
  }
  std::string weights(std::string_view run) const { return read_file(folder_ / run / "model.safetensors"); }

  TemporaryFolder folder_;
};

TEST_F(MlpProgram, LearnsAndEvaluates) {
  const ProcessResult result = train_bars("run", {"--epochs", "5", "--micro-batch", "10"});
  expect_success(result);
  EXPECT_THAT(result.out, ::testing::HasSubstr("MLP [49, 16, 10]"));
  EXPECT_THAT(result.out, ::testing::HasSubstr("200 images, 100 updates"));

  const nlohmann::json object = evaluation("run");
  EXPECT_EQ(object.size(), 3u) << object.dump();
  EXPECT_GT(object.at("accuracy").get<double>(), 0.9);
  EXPECT_EQ(object.at("targets"), 50);
  EXPECT_THAT(result.out,
              ::testing::HasSubstr(fmt::format("test accuracy {:.2f} %", 100 * object.at("accuracy").get<double>())));
  EXPECT_NEAR(evaluation("run", {"--micro-batch", "7"}).at("loss").get<double>(), object.at("loss").get<double>(),
              rounding * object.at("loss").get<double>());
}

TEST_F(MlpProgram, LogsOneObjectPerUpdate) {
  expect_success(train_bars("run", {"--epochs", "2", "--micro-batch", "25", "--accumulation", "2"}));
  const auto objects = read_json_lines(folder_ / "run/metrics.jsonl");
  ASSERT_EQ(objects.size(), 8u);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    EXPECT_EQ(objects[i]["update"], i + 1);
    EXPECT_EQ(objects[i]["targets"], 50);
    EXPECT_TRUE(objects[i].contains("samples_per_second"));
  }
}

TEST_F(MlpProgram, RunsWithItsDefaultsOnASmallSet) {
  expect_success(mlp({"train", "--data", path("data"), "--out", path("run"), "--hidden", "8"}));
}

TEST_F(MlpProgram, ReadsCompressedFilesAsPlainOnes) {
  write_bars(folder_ / "gz", Compression::gzip);
  expect_success(train_bars("plain", {"--epochs", "1"}));
  expect_success(train("compressed", {"--data", path("gz"), "--warmup", "0", "--epochs", "1"}));
  EXPECT_EQ(weights("compressed"), weights("plain"));
}

TEST_F(MlpProgram, EverySplitTrainsAlike) {
  expect_success(train_bars("whole", {"--epochs", "1", "--micro-batch", "40"}));
  expect_success(train_bars("split", {"--epochs", "1", "--micro-batch", "5", "--accumulation", "8"}));
  expect_close(losses("split"), losses("whole"), rounding);
}

TEST_F(MlpProgram, ResumesToTheSameBits) {
  const Arguments options = {"--schedule", "constant", "--micro-batch", "30", "--dropout", "0.2"};
  expect_success(train_bars("whole", joined(options, {"--epochs", "2"})));
  expect_success(train_bars("parts", joined(options, {"--epochs", "1"})));
  expect_success(train_bars("parts", joined(options, {"--epochs", "2", "--resume"})));
  EXPECT_EQ(losses("parts"), losses("whole"));
  EXPECT_EQ(weights("parts"), weights("whole"));
}

TEST_F(MlpProgram, EvaluatesOnTheTestImagesWhileTraining) {
  expect_success(train_bars("run", {"--epochs", "1", "--micro-batch", "100", "--evaluate-every", "1"}));
  const auto objects = read_json_lines(folder_ / "run/metrics.jsonl");
  const double expected = evaluation("run").at("loss");
  EXPECT_NEAR(objects.back().at("validation_loss").get<double>(), expected, rounding * expected);
}

}  // namespace
}  // namespace accrue::testing
