#include "train/line_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using ::testing::HasSubstr;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin))
    lines.push_back(text.substr(begin, end - begin));
  EXPECT_EQ(begin, text.size()) << "the last line is not ended";
  return lines;
}

// Characters of a UTF-8 text: every byte that does not continue one.
std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

const Series diagonal{.name = "up",
                      .points = {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}, {8, 8}, {9, 9}}};

TEST(LinePlot, ADiagonalRunsFromTheLowerLeftToTheUpperRight) {
  const auto lines =
      lines_of(line_plot({diagonal}, {.width = 10, .height = 10, .unicode = false, .x_label = "x", .y_label = "y"}));
  ASSERT_EQ(lines.size(), 13u);  // legend, ten rows, axis, labels
  EXPECT_EQ(lines[0], "        y   ... up");
  for (std::size_t row = 0; row < 10; ++row) EXPECT_EQ(lines[1 + row].substr(11), std::string(9 - row, ' ') + ".");
  EXPECT_EQ(lines[1].substr(0, 11), "        9 |");
  EXPECT_EQ(lines[10].substr(0, 11), "        0 |");
  EXPECT_EQ(lines[11], "          +----------");
  EXPECT_THAT(lines[12], HasSubstr("9 x"));
}

TEST(LinePlot, LaterSeriesAreMarksOnTopWithALegend) {
  const std::string text =
      line_plot({diagonal, {.name = "one", .points = {{9, 0}}}, {.name = "two", .points = {{0, 9}}}},
                {.width = 10, .height = 10, .unicode = false});
  const auto lines = lines_of(text);
  EXPECT_THAT(lines[0], HasSubstr("... up   o one   + two"));
  EXPECT_EQ(lines[1].substr(11), "+        .");
  EXPECT_EQ(lines[10].substr(11), ".        o");
}

TEST(LinePlot, BrailleHasTwoByFourDotsACharacter) {
  // Two points in opposite corners of a canvas of 20 x 12 dots: the lowest dot of the left column, the highest of the
  // right.
  const auto lines = lines_of(line_plot({{.name = "a", .points = {{0, 0}, {1, 1}}}}, {.width = 10, .height = 3}));
  EXPECT_THAT(lines[1], HasSubstr("         ⠈"));
  EXPECT_THAT(lines[3], HasSubstr("⡀"));
}

TEST(LinePlot, PointsThatAreNotFiniteAreLeftOut) {
  const PlotOptions options{.width = 10, .height = 10, .unicode = false};
  Series with = diagonal;
  with.points.insert(with.points.begin() + 5, {{std::nan(""), 1}, {1, std::nan("")}, {HUGE_VAL, 2}, {2, -HUGE_VAL}});
  EXPECT_EQ(line_plot({with}, options), line_plot({diagonal}, options));
}

TEST(LinePlot, ALogarithmicAxisMakesAPowerADiagonalAndIsLabelledWithItsValues) {
  Series powers{.name = "up", .points = {}};
  for (int i = 0; i < 10; ++i) powers.points.emplace_back(std::exp2(i), std::pow(10, i - 8));
  const auto lines = lines_of(line_plot({powers}, {.width = 10,
                                                   .height = 10,
                                                   .unicode = false,
                                                   .x_label = "x",
                                                   .y_label = "y",
                                                   .x_axis = Axis::logarithmic,
                                                   .y_axis = Axis::logarithmic}));
  ASSERT_EQ(lines.size(), 13u);
  for (std::size_t row = 0; row < 10; ++row) EXPECT_EQ(lines[1 + row].substr(11), std::string(9 - row, ' ') + ".");
  EXPECT_EQ(lines[1].substr(0, 11), "       10 |");
  EXPECT_EQ(lines[6].substr(0, 11), "   0.0001 |");
  EXPECT_EQ(lines[10].substr(0, 11), "    1e-08 |");
  EXPECT_THAT(lines[12], ::testing::MatchesRegex(" +1 +512 x"));
}

TEST(LinePlot, ALogarithmicAxisLeavesOutWhatIsNotPositive) {
  PlotOptions options{.width = 10, .height = 10, .unicode = false, .y_axis = Axis::logarithmic};
  Series with{.name = "up", .points = {{1, 1}, {2, 0}, {3, 10}, {4, -1}, {9, 100}}};
  Series without{.name = "up", .points = {{1, 1}, {3, 10}, {9, 100}}};
  EXPECT_EQ(line_plot({with}, options), line_plot({without}, options));
  EXPECT_EQ(line_plot({{.name = "zero", .points = {{1, 0}}}}, options), "(nothing to plot: no finite points)\n");
}

TEST(LinePlot, TheFirstSeriesMayBeMarks) {
  const auto lines = lines_of(line_plot({{.name = "one", .points = {{9, 9}}}, {.name = "two", .points = {{0, 0}}}},
                                        {.width = 10, .height = 10, .unicode = false, .first = FirstSeries::marks}));
  EXPECT_THAT(lines[0], HasSubstr("   o one   + two"));
  EXPECT_EQ(lines[1].substr(11), "         o");
  EXPECT_EQ(lines[10].substr(11), "+");
}

TEST(LinePlot, NothingFiniteIsSaidInWords) {
  EXPECT_EQ(line_plot({}, {}), "(nothing to plot: no finite points)\n");
  EXPECT_EQ(line_plot({{.name = "a", .points = {{std::nan(""), std::nan("")}}}}, {}),
            "(nothing to plot: no finite points)\n");
}

TEST(LinePlot, AConstantOrASinglePointIsDrawn) {
  EXPECT_THAT(line_plot({{.name = "a", .points = {{3, 7}}}}, {.width = 10, .height = 3, .unicode = false}),
              HasSubstr("."));
  EXPECT_THAT(line_plot({{.name = "a", .points = {{0, 7}, {1, 7}}}}, {.width = 10, .height = 3, .unicode = false}),
              HasSubstr("."));
}

TEST(LinePlot, TooSmallACanvasIsRefused) {
  EXPECT_THAT(error_of(ErrorKind::internal, [] { line_plot({diagonal}, {.width = 9}); }),
              HasSubstr("at least 10 x 3 characters, but got 9 x 16"));
  error_of(ErrorKind::internal, [] { line_plot({diagonal}, {.height = 2}); });
}

RC_GTEST_PROP(LinePlot, StaysWithinItsFrameForAnyPoints,
              (const std::vector<std::pair<double, double>>& points, bool unicode)) {
  const auto width = *rc::gen::inRange(10, 100), height = *rc::gen::inRange(3, 30);
  const auto lines = lines_of(line_plot({{.name = "a", .points = points}, {.name = "b", .points = points}},
                                        {.width = width, .height = height, .unicode = unicode}));
  if (lines.size() == 1) return;  // nothing finite
  RC_ASSERT(lines.size() == static_cast<std::size_t>(height) + 3);
  for (int row = 1; row <= height; ++row) {
    const std::string& line = lines[static_cast<std::size_t>(row)];
    RC_ASSERT(characters(line) <= static_cast<std::size_t>(width) + 11);
  }
}

TEST(LinePlot, AxesThatSpanAllDoublesDoNotOverflow) {
  constexpr double largest = std::numeric_limits<double>::max();
  const auto lines = lines_of(line_plot({{.name = "a", .points = {{-largest, -largest}, {0, 0}, {largest, largest}}}},
                                        {.width = 11, .height = 11, .unicode = false}));
  EXPECT_EQ(lines[1].substr(lines[1].find('|') + 1), std::string(10, ' ') + ".");
  EXPECT_EQ(lines[6].substr(lines[6].find('|') + 1), std::string(5, ' ') + ".");
  EXPECT_EQ(lines[11].substr(lines[11].find('|') + 1), ".");
}

}  // namespace
}  // namespace accrue::train
