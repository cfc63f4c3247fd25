// `gpt plot`: a loss curve in the terminal.
#include <algorithm>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptPlot : public GptTest {
 protected:
  static ProcessResult plot(const std::string& file, const char* locale) {
    return run_program("gpt", {"plot", file}, {std::string("LC_ALL=") + locale});
  }
};

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 128; });
}

TEST_F(GptPlot, DrawsTheCurveOfARun) {
  train("run", {"--steps", "8", "--learning-rate", "0.01", "--validation-fraction", "0.3", "--evaluate-every", "4"});
  const ProcessResult ascii = plot(path("run/metrics.jsonl"), "C");
  expect_success(ascii);
  EXPECT_GE(lines_of(ascii.out).size(), 10u);
  EXPECT_TRUE(is_ascii(ascii.out)) << ascii.out;
  for (const char* word : {"loss", "updates", "train", "validation"})
    EXPECT_THAT(ascii.out, ::testing::HasSubstr(word));

  const ProcessResult unicode = plot(path("run/metrics.jsonl"), "en_US.UTF-8");
  expect_success(unicode);
  EXPECT_FALSE(is_ascii(unicode.out));
}

TEST_F(GptPlot, SaysWhenThereIsNothingToDraw) {
  write_file(path("empty"), "");
  const ProcessResult result = plot(path("empty"), "C");
  expect_success(result);
  EXPECT_NE(result.out, "");
  write_file(path("diverged"), R"({"update": 1, "loss": "NaN"})"
                               "\n");
  expect_success(plot(path("diverged"), "C"));
}

TEST_F(GptPlot, RefusesOtherFiles) {
  expect_error(plot(path("none"), "C"), ErrorKind::no_input, {path("none")});
  expect_error(plot(folder_.path().string(), "C"), ErrorKind::no_input, {"folder"});
  expect_error(plot(path("text"), "C"), ErrorKind::bad_data, {path("text") + ":1", "metrics.jsonl"});
  write_file(path("half"), R"({"update": 1, "loss": 2.5})"
                           "\n"
                           R"({"update": 2, "lo)");
  expect_error(plot(path("half"), "C"), ErrorKind::bad_data, {path("half") + ":2"});
  expect_error(run_program("gpt", {"plot"}), ErrorKind::usage, {"metrics"});
}

}  // namespace
}  // namespace accrue::testing
