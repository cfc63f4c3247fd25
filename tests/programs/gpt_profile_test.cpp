// `gpt train --profile` and `mlp train --profile`.
#include <nlohmann/json.hpp>

#include "core/cuda_devices.h"
#include "tests/programs/images.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GptProfile : public GptTest {
 protected:
  ProcessResult profile(std::string_view run, const Arguments& options) const {
    const ProcessResult result = gpt(joined(training(run, joined({"--profile"}, options)), tiny_model()));
    expect_success(result);
    return result;
  }
  nlohmann::json trace(std::string_view run) const {
    return nlohmann::json::parse(read_file(folder_ / run / "profile.json"));
  }
};

// The numbers of a table's column, without its last line, which is their sum.
double sum_of_column(const std::string& out, std::size_t column) {
  double sum = 0;
  bool inside = false;
  for (const std::string& line : lines_of(out)) {
    if (line.starts_with("the window ")) return sum;
    std::vector<std::string> words;
    // The name is everything up to two spaces.
    std::istringstream numbers(line.substr(std::min(line.size(), line.find("  "))));
    for (std::string word; numbers >> word;) words.push_back(word);
    if (inside && words.size() > column) sum += std::stod(words[column]);
    inside = inside || line.starts_with("operation ");
  }
  return NAN;
}

std::string line_that_begins_with(const std::string& out, std::string_view beginning) {
  for (const std::string& line : lines_of(out))
    if (line.starts_with(beginning)) return line;
  return {};
}

TEST_F(GptProfile, ShowsTheThirdWindowByOperation) {
  const ProcessResult result = profile("run", {"--steps", "4", "--micro-batch", "2", "--accumulation", "3"});
  EXPECT_THAT(result.out, HasSubstr("Profile of window 2, number 3 of this process: 3 micro-batches, 6 samples, "));
  for (const char* row :
       {"matmul ", "attention_forward ", "adamw ", "data loading ", "outside of operations ", "the window "})
    EXPECT_NE(line_that_begins_with(result.out, row), "") << row << "\n" << result.out;
  EXPECT_THAT(line_that_begins_with(result.out, "data loading "), HasSubstr(" 3 "));
  EXPECT_NEAR(sum_of_column(result.out, 2), 100, 0.05 * 30);  // rounded to a tenth in each of up to 30 lines
  EXPECT_THAT(result.out, HasSubstr("update 4/4"));
  EXPECT_THAT(result.out, HasSubstr("timeline   " + path("run/profile.json")));
}

TEST_F(GptProfile, WritesATimelineOfCompleteEvents) {
  profile("run", {"--steps", "3", "--micro-batch", "2"});
  const nlohmann::json object = trace("run");
  EXPECT_EQ(object.at("otherData").at("window"), 2);
  EXPECT_GT(object.at("otherData").at("peak_product_flop_per_second").get<double>(), 0);
  double end_of_window = 0;
  int calls = 0;
  for (const nlohmann::json& event : object.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts"), duration = event.at("dur");
    EXPECT_GE(begin, 0);
    EXPECT_GE(duration, 0);
    if (event.at("name") == "window 2") {
      end_of_window = duration;
      continue;
    }
    ++calls;
    EXPECT_LE(begin + duration, end_of_window + 1e-3);
    EXPECT_TRUE(event.at("args").contains("flop") && event.at("args").contains("bytes"));
  }
  EXPECT_GT(calls, 20);
}

TEST_F(GptProfile, ChangesNoBitOfTheTraining) {
  const Arguments options = {"--steps", "4", "--micro-batch", "3", "--dropout", "0.1"};
  profile("profiled", options);
  train("plain", options);
  EXPECT_EQ(losses("profiled"), losses("plain"));
  EXPECT_EQ(weights("profiled"), weights("plain"));
  for (const char* file : {"optimizer.safetensors", "config.json", "state.json"})
    EXPECT_EQ(read_file(folder_ / "profiled/latest" / file), read_file(folder_ / "plain/latest" / file)) << file;
}

TEST_F(GptProfile, MeasuringThePeaksIsNoMemoryOfTheTraining) {
  profile("profiled", {"--steps", "2"});
  train("plain", {"--steps", "2"});
  EXPECT_EQ(metrics("profiled").back().at("peak_bytes"), metrics("plain").back().at("peak_bytes"));
}

TEST_F(GptProfile, CountsTheWindowsOfTheProcessThatResumes) {
  train("run", {"--steps", "2", "--micro-batch", "2"});
  const ProcessResult third = gpt(training("run", {"--resume", "--profile", "--steps", "6", "--micro-batch", "2"}));
  expect_success(third);
  EXPECT_THAT(third.out, HasSubstr("Profile of window 4, number 3 of this process: "));
  // A later profile takes the earlier one's place.
  const ProcessResult last = gpt(training("run", {"--resume", "--profile", "--steps", "7", "--micro-batch", "2"}));
  expect_success(last);
  EXPECT_THAT(last.out, HasSubstr("Profile of window 6, number 1 of this process (not warm yet: with more --steps"));
  EXPECT_EQ(trace("run").at("otherData").at("window"), 6);
}

TEST_F(GptProfile, SaysThatThereIsNothingToShowWhereNoWindowRuns) {
  train("run", {"--steps", "2", "--micro-batch", "2"});
  const ProcessResult result = gpt(training("run", {"--resume", "--profile", "--steps", "2", "--micro-batch", "2"}));
  expect_success(result);
  EXPECT_THAT(result.out,
              HasSubstr("no window ran to its end, so that there is nothing to show; it takes more --steps"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/profile.json"));
}

TEST_F(GptProfile, WithoutTheOptionThereIsNone) {
  const ProcessResult result = gpt(joined(training("run", {"--steps", "3"}), tiny_model()));
  expect_success(result);
  EXPECT_THAT(result.out, Not(HasSubstr("Profile")));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/profile.json"));
}

TEST_F(GptProfile, DoesWithoutPeaksWhereMemoryIsShort) {
  const ProcessResult result = profile("run", {"--steps", "3", "--memory-limit", "64MiB"});
  EXPECT_THAT(result.out, HasSubstr("peak: not measured ("));
  EXPECT_THAT(result.out, HasSubstr("update 3/3"));
}

TEST_F(GptProfile, ATimelineThatCannotBeWrittenDoesNotEndTheTraining) {
  std::filesystem::create_directories(folder_ / "run/profile.json");
  write_file(path("run/profile.json/in-the-way"), "");
  const ProcessResult result = gpt(joined(training("run", {"--steps", "3", "--profile"}), tiny_model()));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: the timeline of --profile could not be written: "));
  EXPECT_THAT(result.out, HasSubstr("update 3/3"));
}

TEST_F(GptProfile, WorksOnACudaDevice) {
  if (!cuda::usable(0)) GTEST_SKIP() << cuda::why_unavailable();
  const ProcessResult result =
      profile("run", {"--steps", "3", "--micro-batch", "2", "--device", "cuda", "--precision", "bf16"});
  EXPECT_THAT(result.out, HasSubstr("number 3 of this process: 1 micro-batch, 2 samples, "));
  EXPECT_NE(line_that_begins_with(result.out, "attention_backward "), "");
  EXPECT_NEAR(sum_of_column(result.out, 2), 100, 0.05 * 30);
}

TEST(MlpProfile, ShowsAWindow) {
  const TemporaryFolder folder;
  write_bars(folder / "data");
  const ProcessResult result = run_program(
      "mlp", {"train", "--data", (folder / "data").string(), "--out", (folder / "run").string(), "--hidden", "16",
              "--threads", "1", "--epochs", "1", "--micro-batch", "25", "--accumulation", "2", "--profile"});
  expect_success(result);
  EXPECT_THAT(result.out, HasSubstr("Profile of window 2, number 3 of this process: 2 micro-batches, 50 samples, "));
  EXPECT_NE(line_that_begins_with(result.out, "matmul "), "");
  EXPECT_TRUE(std::filesystem::exists(folder / "run/profile.json"));
}

}  // namespace
}  // namespace accrue::testing
