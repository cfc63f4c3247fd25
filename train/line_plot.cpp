#include "train/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/check.h"

namespace accrue::train {
namespace {

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void include(double value) { low = std::min(low, value), high = std::max(high, value); }
  bool empty() const { return low > high; }
  // Where a value lies in [0, cells), for at least one cell.
  int cell(double value, int cells) const {
    const double half_span = high / 2 - low / 2;  // the whole span may overflow
    if (!(half_span > 0)) return cells / 2;
    return std::clamp(static_cast<int>((value / 2 - low / 2) / half_span * (cells - 1) + 0.5), 0, cells - 1);
  }
};

bool finite(const std::pair<double, double>& point) {
  return std::isfinite(point.first) && std::isfinite(point.second);
}

// The bit of a braille pattern (U+2800 + bits) for the dot in column 0..1, row 0..3 of a character.
constexpr std::array<std::array<std::uint8_t, 2>, 4> braille_bits = {
    {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};

std::string braille(std::uint8_t bits) {
  if (bits == 0) return " ";
  // U+2800 … U+28FF in UTF-8: E2, A0 + upper two bits, 80 + lower six bits.
  return {static_cast<char>(0xE2), static_cast<char>(0xA0 | (bits >> 6)), static_cast<char>(0x80 | (bits & 0x3F))};
}

class Canvas {
 public:
  Canvas(const PlotOptions& options, Range x, Range y)
      : options_(options), x_(x), y_(y), cells_(static_cast<std::size_t>(options.width * options.height), " ") {}

  void curve(const Series& series) {
    const int dots_x = options_.unicode ? 2 : 1, dots_y = options_.unicode ? 4 : 1;
    std::vector<std::uint8_t> bits(cells_.size());
    for (const auto& point : series.points) {
      if (!finite(point)) continue;
      const int column = x_.cell(point.first, options_.width * dots_x),
                row = y_.cell(point.second, options_.height * dots_y);
      const int from_top = options_.height * dots_y - 1 - row;
      const std::size_t cell = index(column / dots_x, from_top / dots_y);
      bits[cell] |=
          braille_bits[static_cast<std::size_t>(from_top % dots_y)][static_cast<std::size_t>(column % dots_x)];
    }
    for (std::size_t i = 0; i < bits.size(); ++i) {
      if (bits[i] != 0) cells_[i] = options_.unicode ? braille(bits[i]) : ".";
    }
  }

  void marks(const Series& series, const std::string& mark) {
    for (const auto& point : series.points) {
      if (finite(point))
        cells_[index(x_.cell(point.first, options_.width),
                     options_.height - 1 - y_.cell(point.second, options_.height))] = mark;
    }
  }

  std::string row(int from_top) const {
    std::string text;
    for (int column = 0; column < options_.width; ++column) text += cells_[index(column, from_top)];
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }

 private:
  std::size_t index(int column, int from_top) const {
    return static_cast<std::size_t>(from_top * options_.width + column);
  }

  const PlotOptions& options_;
  Range x_, y_;
  std::vector<std::string> cells_;
};

double along(Axis axis, double value) { return axis == Axis::logarithmic ? std::log10(value) : value; }
double value_at(Axis axis, double place) { return axis == Axis::logarithmic ? std::pow(10, place) : place; }

// The series' points where they lie along the axes.
std::vector<Series> on_axes(std::vector<Series> series, const PlotOptions& options) {
  for (Series& one : series) {
    for (auto& [x, y] : one.points) x = along(options.x_axis, x), y = along(options.y_axis, y);
  }
  return series;
}

std::string legend(const std::vector<Series>& series, const std::vector<std::string>& marks) {
  std::string text;
  for (std::size_t i = 0; i < series.size(); ++i)
    text += fmt::format("{}{} {}", i == 0 ? "" : "   ", marks[i], series[i].name);
  return text;
}

}  // namespace

std::string line_plot(const std::vector<Series>& given, const PlotOptions& options) {
  check(options.width >= 10 && options.height >= 3, "line_plot: needs at least 10 x 3 characters, but got {} x {}",
        options.width, options.height);
  const std::vector<Series> series = on_axes(given, options);
  Range x, y;
  for (const Series& one : series) {
    for (const auto& point : one.points) {
      if (finite(point)) x.include(point.first), y.include(point.second);
    }
  }
  if (x.empty()) return "(nothing to plot: no finite points)\n";

  const std::array<std::string, 3> unicode_marks = {"◆", "▲", "■"}, ascii_marks = {"o", "+", "#"};
  std::vector<std::string> marks;
  Canvas canvas(options, x, y);
  const std::size_t curves = options.first == FirstSeries::curve ? 1 : 0;
  for (std::size_t i = 0; i < series.size(); ++i) {
    if (i < curves) {
      marks.emplace_back(options.unicode ? "⣀⠤⠒" : "...");
      canvas.curve(series[i]);
    } else {
      marks.push_back((options.unicode ? unicode_marks : ascii_marks)[(i - curves) % 3]);
      canvas.marks(series[i], marks.back());
    }
  }

  const std::string bar = options.unicode ? "│" : "|", corner = options.unicode ? "└" : "+",
                    dash = options.unicode ? "─" : "-";
  std::string text = fmt::format("{:>9}   {}\n", options.y_label, legend(series, marks));
  for (int row = 0; row < options.height; ++row) {
    const bool labelled = row % 5 == 0 || row == options.height - 1;
    const double down = static_cast<double>(row) / (options.height - 1);
    const double value = value_at(options.y_axis, y.high * (1 - down) + y.low * down);
    text += fmt::format("{:>9} {}{}\n", labelled ? fmt::format("{:.3g}", value) : "", bar, canvas.row(row));
  }
  text += fmt::format("{:>9} {}", "", corner);
  for (int column = 0; column < options.width; ++column) text += dash;
  const std::string left = fmt::format("{:g}", value_at(options.x_axis, x.low)),
                    right = fmt::format("{:g} {}", value_at(options.x_axis, x.high), options.x_label);
  const auto gap = std::max<std::ptrdiff_t>(1, options.width - std::ssize(left) - std::ssize(right) + 1);
  return text + fmt::format("\n{:>10}{}{:>{}}{}\n", "", left, "", gap, right);
}

}  // namespace accrue::train
