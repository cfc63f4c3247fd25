// Softmax cross-entropy and its gradient in double precision, with bounds for a kernel that computes in f32.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/device.h"
#include "tests/testing/compare.h"

namespace accrue::testing {

// What the definition gives, and first-order bounds of a float kernel's errors.
struct CrossEntropyReference {
  double loss = 0, loss_bound = 0;
  std::int64_t count = 0;
  std::vector<double> gradient, gradient_bounds;  // of the loss
};

// Roundings of a sum of exponentials, per term.
inline double exponential_additions(std::int64_t classes, Device device) {
  if (device.kind == DeviceKind::cuda) {
    // A long row's thread has every 512th pack of four elements or more, and up to one element beside them. Each pack,
    // and the block in the end, may rescale what was summed before: an exponential (2 ulp) and a product. Then two
    // stages of five additions.
    const double elements = static_cast<double>(classes) / 512 + 9, rescalings = elements / 4 + 1;
    return elements + 5 * rescalings + 10;
  }
  // On the CPU: over at most 4096 elements in f32, four lanes or more, two at a time, then across lanes; what lies
  // between such parts is f64.
  const double part = std::max(4096.0, static_cast<double>((classes + 63) / 64));
  return std::min(static_cast<double>(classes), part) / 8 + 8;
}

struct CrossEntropyRow {
  const double* x;
  std::int32_t target;
  std::int64_t classes;
  double* gradient;
  double* bounds;
};

inline void add_row(const CrossEntropyRow& row, Device device, CrossEntropyReference& r) {
  const auto [x, target, classes, gradient, bounds] = row;
  constexpr double u = unit_roundoff(DType::f32);
  constexpr double smallest = 0x1p-149;  // a result below 2^-126 may lose this much
  const double max = *std::max_element(x, x + classes);
  // A term e^(x - max): the difference is rounded, the exponential is within 2 ulp.
  const auto term_error = [&](std::int64_t i) { return (max - x[i] + 4) * u; };
  double sum = 0, sum_error = 0;
  for (std::int64_t i = 0; i < classes; ++i) {
    sum += std::exp(x[i] - max);
    sum_error += std::exp(x[i] - max) * term_error(i) + smallest;
  }
  const double relative = sum_error / sum + exponential_additions(classes, device) * u;
  for (std::int64_t i = 0; i < classes; ++i) {
    gradient[i] = std::exp(x[i] - max) / sum;
    // The term, the sum, the factor that divides by it and the product.
    bounds[i] = gradient[i] * (term_error(i) + relative + 2 * u) + 2 * smallest;
  }
  gradient[target] -= 1;
  bounds[target] += 2 * u;  // what is subtracted and the difference are rounded
  const double loss = std::log(sum) + (max - x[target]);
  r.loss += loss;
  r.loss_bound += relative;
  ++r.count;
}

inline CrossEntropyReference cross_entropy_reference(const std::vector<double>& logits,
                                                     const std::vector<std::int32_t>& targets, std::int64_t classes,
                                                     Device device, std::int32_t ignored = -1) {
  CrossEntropyReference r;
  r.gradient.assign(logits.size(), 0);
  r.gradient_bounds.assign(logits.size(), 0);
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const std::size_t at = row * static_cast<std::size_t>(classes);
    if (targets[row] != ignored)
      add_row({.x = logits.data() + at,
               .target = targets[row],
               .classes = classes,
               .gradient = r.gradient.data() + at,
               .bounds = r.gradient_bounds.data() + at},
              device, r);
  }
  r.loss_bound += static_cast<double>(4 * r.count) * 0x1p-53 * r.loss;  // logarithms and sums in f64
  return r;
}

}  // namespace accrue::testing
