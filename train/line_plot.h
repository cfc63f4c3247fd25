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

struct PlotOptions {
  int width = 72;       // columns of the plotting area
  int height = 16;      // rows of the plotting area
  bool unicode = true;  // braille dots; otherwise plain ASCII
  std::string x_label, y_label;
};

// The first series as a curve (2 x 4 braille dots a character, or '.'), each further one as marks on top. Axes span the
// finite points of all series. No finite point at all gives a line that says so.
std::string line_plot(const std::vector<Series>& series, const PlotOptions& options);

}  // namespace accrue::train
