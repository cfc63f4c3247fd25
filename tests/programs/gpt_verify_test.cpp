// `gpt verify`: the table that shows that splits change nothing.
#include <regex>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptVerify : public GptTest {
 protected:
  static ProcessResult verify(const Arguments& options) {
    return gpt(joined(joined({"verify"}, tiny_model()), options));
  }

  // The numbers of each split's row: loss, gradient, weights.
  struct Row {
    std::string split;
    double loss = 0, gradient = 0, weights = 0;
  };
  static std::vector<Row> rows(const std::string& table) {
    static const std::regex row(R"(^ *(\d+ x \d+) +(\S+) +(\S+) +\S+ +(\S+) +\S+ (B|KiB|MiB|GiB) +\S+ \S+$)");
    std::vector<Row> result;
    for (const std::string& line : lines_of(table)) {
      std::smatch match;
      if (std::regex_match(line, match, row))
        result.push_back({match[1], std::stod(match[2]), std::stod(match[3]), std::stod(match[4])});
    }
    return result;
  }
  static void expect_holds(const ProcessResult& result, const std::vector<std::string>& splits) {
    expect_success(result);
    std::vector<std::string> shown_splits;
    for (const Row& row : rows(result.out)) {
      shown_splits.push_back(row.split);
      EXPECT_LE(row.gradient, 1e-6) << row.split;  // contract 12
      EXPECT_LE(row.loss, 1e-6) << row.split;
    }
    EXPECT_EQ(shown_splits, splits) << result.out;
    EXPECT_THAT(result.out, ::testing::HasSubstr("Every split gives the gradient of the whole window."));
  }
};

TEST_F(GptVerify, ShowsARowForEverySplit) {
  expect_holds(verify({}), {"1 x 8", "2 x 4", "4 x 2", "8 x 1"});
  expect_holds(verify({"--splits", "3x5,5x3,1x15"}), {"3 x 5", "5 x 3", "1 x 15"});
  expect_holds(verify({"--splits", "1x1"}), {"1 x 1"});
}

TEST_F(GptVerify, TheUnsplitWindowDiffersFromItselfInNoBit) {
  const ProcessResult result = verify({"--splits", "6x1", "--dropout", "0.1"});
  expect_success(result);
  ASSERT_EQ(rows(result.out).size(), 1u) << result.out;
  EXPECT_EQ(rows(result.out)[0].gradient, 0);
  EXPECT_EQ(rows(result.out)[0].weights, 0);
}

TEST_F(GptVerify, HoldsWithDropoutRecomputationEqualTargetsAndText) {
  expect_holds(verify({"--splits", "1x8,4x2", "--dropout", "0.1", "--recompute"}), {"1 x 8", "4 x 2"});
  expect_holds(verify({"--splits", "1x8,4x2", "--equal-targets", "--seed", "3"}), {"1 x 8", "4 x 2"});
  expect_holds(verify({"--splits", "1x8,4x2", "--text", path("text"), "--threads", "2"}), {"1 x 8", "4 x 2"});
}

TEST_F(GptVerify, FailsForAGradientThatDependsOnTheSplit) {
  const Arguments means = {"--normalisation", "micro-batches", "--splits", "8x1,2x4"};
  const ProcessResult result = verify(means);
  expect_error(result, ErrorKind::numeric, {"split 2x4", "1.0e-06"});
  EXPECT_THAT(result.out, ::testing::HasSubstr("<-- beyond the bound"));
  EXPECT_THAT(result.out, ::testing::Not(::testing::HasSubstr("Every split gives")));
  expect_holds(verify(joined(means, {"--equal-targets"})), {"8 x 1", "2 x 4"});
}

TEST_F(GptVerify, RefusesSplitsThatAreNone) {
  for (const char* splits : {"", "x", "2x", "x4", "8", "0x4", "4x0", "2x-1", "-2x1", "axb", "2*4", "2x4,", ",2x4",
                             "1.5x2", "2x4x1", " 2x4", "99999999999999999999x1", "2X4"}) {
    SCOPED_TRACE(splits);
    expect_error(verify({"--splits", splits}), ErrorKind::usage, {"--splits", "MICROxACCUMULATION", "2x4"});
  }
  expect_error(verify({"--splits", "2x4,3x3"}), ErrorKind::usage, {"3x3", "9 samples", "2x4", "of 8"});
}

TEST_F(GptVerify, RefusesTextsThatDoNotFit) {
  expect_error(verify({"--text", path("none")}), ErrorKind::no_input, {path("none")});
  expect_error(verify({"--text", path("text"), "--vocabulary", "100"}), ErrorKind::bad_data, {path("text"), "100"});
  write_file(path("short"), "abc");
  expect_error(verify({"--text", path("short")}), ErrorKind::bad_data, {path("short"), "context 8"});
}

}  // namespace
}  // namespace accrue::testing
