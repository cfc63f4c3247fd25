// Curves drawn with characters.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace accrue::train {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y; points that are not finite are left out
};

// A logarithmic axis has no place for points at or below zero: they are left out.
enum class Axis { linear, logarithmic };

// Few points are seen as marks only.
enum class FirstSeries { curve, marks };

struct PlotOptions {
  int width = 72;       // columns of the plotting area
  int height = 16;      // rows of the plotting area
  bool unicode = true;  // braille dots; otherwise plain ASCII
  std::string x_label, y_label;
  Axis x_axis = Axis::linear, y_axis = Axis::linear;
  FirstSeries first = FirstSeries::curve;
};

// The first series as a curve (2 x 4 braille dots a character, or '.'), each further one as marks on top. Axes span the
// finite points of all series and are labelled with the points' own values. No finite point at all gives a line that
// says so.
std::string line_plot(const std::vector<Series>& series, const PlotOptions& options);

}  // namespace accrue::train
