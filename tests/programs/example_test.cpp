// The example of the documentation is short, and runs.
#include <regex>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

TEST(Example, FitsOnAScreen) { EXPECT_LE(lines_of(read_file(ACCRUE_EXAMPLES "/accumulate.cpp")).size(), 40u); }

TEST(Example, StandsInTheReadmeAsItIs) {
  EXPECT_THAT(read_file(ACCRUE_EXAMPLES "/../../README.md"),
              ::testing::HasSubstr("```cpp\n" + read_file(ACCRUE_EXAMPLES "/accumulate.cpp") + "```\n"));
}

TEST(Example, MakesFiveUpdatesOfTwentyMicroBatches) {
  const ProcessResult result = run_program("example_accumulate", {});
  expect_success(result);
  const std::vector<std::string> lines = lines_of(result.out);
  ASSERT_EQ(lines.size(), 5u) << result.out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::smatch numbers;
    ASSERT_TRUE(
        std::regex_match(lines[i], numbers, std::regex(R"(update (\d+): loss ([\d.]+), gradient norm ([\d.]+))")))
        << lines[i];
    EXPECT_EQ(std::stoul(numbers[1]), i + 1);
    // Random targets among 1000 tokens can never be predicted better than by chance, ln 1000; at first not much worse.
    EXPECT_NEAR(std::stod(numbers[2]), std::log(1000.0), 0.5);
    EXPECT_GT(std::stod(numbers[3]), 0);
  }
}

}  // namespace
}  // namespace accrue::testing
