// Matrix products in double precision.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"

namespace accrue::testing {

struct MatmulProblem {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;

  Shape a_shape() const { return transpose_a ? Shape{k, m} : Shape{m, k}; }
  Shape b_shape() const { return transpose_b ? Shape{n, k} : Shape{k, n}; }
};

// op(a) · op(b) in f64, and Σ|a||b| for the bound.
struct MatmulReference {
  std::vector<double> product, magnitude;
};

MatmulReference reference_of(const MatmulProblem& p, const std::vector<double>& a, const std::vector<double>& b);

}  // namespace accrue::testing
