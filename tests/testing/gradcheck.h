// Gradients of a reference function by finite differences in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace accrue::testing {

// Central differences with one Richardson step: the error is O(h^4), about 1e-10 relative for smooth functions near 1.
inline std::vector<double> numeric_gradient(const std::function<double(const std::vector<double>&)>& function,
                                            std::vector<double> x) {
  std::vector<double> gradient(x.size());
  const auto central = [&](std::size_t i, double h) {
    const double saved = x[i];
    x[i] = saved + h;
    const double above = function(x);
    x[i] = saved - h;
    const double below = function(x);
    x[i] = saved;
    return (above - below) / (2 * h);
  };
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-3 * std::max(1.0, std::abs(x[i]));
    gradient[i] = (4 * central(i, h / 2) - central(i, h)) / 3;
  }
  return gradient;
}

}  // namespace accrue::testing
