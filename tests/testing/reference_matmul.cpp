#include "tests/testing/reference_matmul.h"

#include <cmath>

namespace accrue::testing {

MatmulReference reference_of(const MatmulProblem& p, const std::vector<double>& a, const std::vector<double>& b) {
  MatmulReference r;
  r.product.resize(static_cast<std::size_t>(p.m * p.n));
  r.magnitude = r.product;
  for (std::int64_t i = 0; i < p.m; ++i) {
    for (std::int64_t j = 0; j < p.n; ++j) {
      double sum = 0, magnitude = 0;
      for (std::int64_t l = 0; l < p.k; ++l) {
        const double x = a[static_cast<std::size_t>(p.transpose_a ? l * p.m + i : i * p.k + l)];
        const double y = b[static_cast<std::size_t>(p.transpose_b ? j * p.k + l : l * p.n + j)];
        sum += x * y;
        magnitude += std::abs(x * y);
      }
      r.product[static_cast<std::size_t>(i * p.n + j)] = sum;
      r.magnitude[static_cast<std::size_t>(i * p.n + j)] = magnitude;
    }
  }
  return r;
}

}  // namespace accrue::testing
