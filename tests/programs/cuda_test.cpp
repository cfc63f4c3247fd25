// The programs on a CUDA device, a real one or the emulated.
#include "core/cuda_devices.h"
#include "tests/programs/images.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class OnCuda : public GptTest {
 protected:
  void SetUp() override {
    if (!cuda::usable(0)) GTEST_SKIP() << cuda::why_unavailable();
  }
  static Arguments on_cuda(const Arguments& options) { return joined(options, {"--device", "cuda"}); }
};

TEST_F(OnCuda, TrainingFollowsTheCpu) {
  const Arguments recipe = {"--steps", "3", "--micro-batch", "2", "--accumulation", "2", "--dropout", "0.1"};
  train("cpu", joined(recipe, {"--device", "cpu"}));
  train("cuda", on_cuda(recipe));
  expect_close(losses("cuda"), losses("cpu"), rounding);
}

// In fp16 the first windows overflow, at the scale that it begins with; replayed, they are the same windows.
TEST_F(OnCuda, Fp16FollowsFp32) {
  const Arguments recipe = {"--steps", "3", "--micro-batch", "2", "--accumulation", "2"};
  train("fp32", on_cuda(recipe));
  const ProcessResult result = gpt(joined(
      training("fp16", on_cuda(joined(recipe, {"--precision", "fp16", "--on-overflow", "replay"}))), tiny_model()));
  expect_success(result);
  expect_close(losses("fp16"), losses("fp32"), 0x1p-9);
  EXPECT_THAT(result.out,
              ::testing::ContainsRegex("window 0 overflowed: the gradient of [a-z0-9_.]+ is not finite from "
                                       "micro-batch 1 of 2 on, at loss scale 65536; it runs again at loss "
                                       "scale 32768"));
  const nlohmann::json first = metrics("fp16").front();
  EXPECT_LT(first.at("loss_scale").get<double>(), 65536);
  const nlohmann::json& attempt = first.at("replayed").at(0);
  EXPECT_EQ(attempt.at("loss_scale").get<double>(), 65536);
  EXPECT_EQ(attempt.at("micro_batch_index").get<int>(), 0);
  EXPECT_FALSE(attempt.at("parameter").get<std::string>().empty());
}

TEST_F(OnCuda, Fp16SkipsAndResumesWithItsScale) {
  const Arguments recipe = {"--micro-batch", "2", "--accumulation", "2", "--precision", "fp16"};
  const Arguments more = joined(recipe, {"--steps", "4"});
  train("whole", on_cuda(more));
  const std::vector<nlohmann::json> windows = metrics("whole");
  EXPECT_EQ(windows.front().at("outcome"), "skipped: the gradient is not finite");
  EXPECT_EQ(windows.front().at("overflow").at("loss_scale").get<double>(), 65536);
  train("halved", on_cuda(joined(recipe, {"--steps", "2"})));
  expect_success(gpt(training("halved", on_cuda(joined(more, {"--resume"})))));
  EXPECT_EQ(losses("halved"), losses("whole"));
  EXPECT_EQ(metrics("halved").back().at("loss_scale"), windows.back().at("loss_scale"));
}

TEST_F(OnCuda, AFixedScaleThatIsTooLargeEndsTheRunAndSaysWhatToDo) {
  expect_error(gpt(joined(training("run", on_cuda({"--steps", "2", "--micro-batch", "2", "--precision", "fp16",
                                                   "--loss-scale", "16777216"})),
                          tiny_model())),
               ErrorKind::numeric, {"20 windows in a row", "in micro-batch 1 of 1 of window 19", "Lower --loss-scale"});
}

// bf16 has 8 significant bits: the loss of these models, about ln 256, is off by a few of its units in the last place.
TEST_F(OnCuda, Bf16AndTf32FollowFp32) {
  const Arguments recipe = {"--steps", "3", "--micro-batch", "2", "--accumulation", "2"};
  train("fp32", on_cuda(recipe));
  train("tf32", on_cuda(joined(recipe, {"--precision", "tf32"})));
  train("bf16", on_cuda(joined(recipe, {"--precision", "bf16"})));
  expect_close(losses("tf32"), losses("fp32"), 0x1p-9);
  expect_close(losses("bf16"), losses("fp32"), 0x1p-6);
}

TEST_F(OnCuda, ACheckpointMovesBetweenTheDevices) {
  const Arguments recipe = {"--micro-batch", "2", "--accumulation", "2"};
  train("moving", joined(recipe, {"--steps", "2", "--device", "cpu"}));
  expect_success(gpt(training("moving", on_cuda(joined(recipe, {"--steps", "4", "--resume"})))));
  train("staying", joined(recipe, {"--steps", "4", "--device", "cpu"}));
  expect_close(losses("moving"), losses("staying"), rounding);
}

TEST_F(OnCuda, VerifyHolds) {
  const ProcessResult result =
      gpt(joined({"verify", "--splits", "1x4,2x2,4x1", "--dropout", "0.1", "--device", "cuda"}, tiny_model()));
  expect_success(result);
  EXPECT_THAT(result.out, ::testing::HasSubstr("Every split gives the gradient of the whole window."));
}

TEST_F(OnCuda, AnAuditTellsAccumulatingAndComputingApart) {
  for (const char* precision : {"tf32", "bf16", "fp16"}) {
    SCOPED_TRACE(precision);
    const ProcessResult json = gpt(joined(
        {"audit", "--json", "--accumulations", "1,3", "--device", "cuda", "--precision", precision}, tiny_model()));
    expect_success(json);
    const nlohmann::json rows = nlohmann::json::parse(json.out).at("rows");
    ASSERT_EQ(rows.size(), 2u);
    for (const nlohmann::json& row : rows) {
      EXPECT_LE(row.at("fp32").at("error").get<double>(), 1e-6);  // whatever the gradient was computed in
      EXPECT_GT(row.at("computation").at("error").get<double>(), 1e-5);
      EXPECT_LT(row.at("computation").at("error").get<double>(), 0x1p-4);
    }
  }
  const ProcessResult table =
      gpt(joined({"audit", "--accumulations", "2", "--device", "cuda", "--precision", "fp16"}, tiny_model()));
  expect_success(table);
  EXPECT_THAT(table.out, ::testing::HasSubstr("computed in fp16"));
  EXPECT_THAT(table.out, ::testing::HasSubstr("; computing in fp16 costs "));
  expect_error(gpt(joined({"audit", "--accumulations", "2", "--device", "cuda", "--precision", "fp16", "--loss-scale",
                           "16777216"},
                          tiny_model())),
               ErrorKind::numeric, {"micro-batch 1 ", "16777216", "--loss-scale"});
}

TEST_F(OnCuda, EvaluationAndSamplingUseTheSameWeights) {
  train("run", on_cuda({"--steps", "2", "--micro-batch", "2"}));
  const auto loss = [&](const Arguments& machine) {
    const ProcessResult result =
        gpt(joined({"eval", "--checkpoint", path("run"), "--text", path("text"), "--json"}, machine));
    expect_success(result);
    return nlohmann::json::parse(result.out).at("loss").get<double>();
  };
  const double on_cpu = loss({"--device", "cpu"});
  EXPECT_NEAR(loss({"--device", "cuda"}), on_cpu, rounding * on_cpu);
  EXPECT_NEAR(loss({"--device", "cuda", "--precision", "bf16"}), on_cpu, 0x1p-6 * on_cpu);
  const auto sample = [&](const char* device) {
    const ProcessResult result = gpt({"sample", "--checkpoint", path("run"), "--prompt", "ab", "--tokens", "5",
                                      "--temperature", "0", "--device", device});
    expect_success(result);
    return result.out;
  };
  EXPECT_EQ(sample("cuda"), sample("cpu"));
}

TEST_F(OnCuda, TheMlpLearns) {
  write_bars(folder_ / "data");
  for (const char* precision : {"fp32", "bf16"}) {
    SCOPED_TRACE(precision);
    const std::string run = path(precision);
    expect_success(run_program(
        "mlp",
        on_cuda({"train", "--data", path("data"), "--out", run, "--hidden", "16", "--learning-rate", "0.01", "--warmup",
                 "0", "--epochs", "4", "--micro-batch", "10", "--accumulation", "2", "--precision", precision})));
    const ProcessResult result =
        run_program("mlp", on_cuda({"eval", "--checkpoint", run, "--data", path("data"), "--json"}));
    expect_success(result);
    // Ten classes: a model that has learned nothing is right in a tenth of the cases.
    EXPECT_GT(nlohmann::json::parse(result.out).at("accuracy").get<double>(), 0.9);
  }
}

}  // namespace
}  // namespace accrue::testing
