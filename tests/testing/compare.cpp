#include "tests/testing/compare.h"

#include <limits>

namespace accrue::testing {

std::vector<double> to_doubles(const Tensor& tensor) {
  std::vector<double> values(static_cast<std::size_t>(tensor.numel()));
  if (tensor.dtype() == DType::i32) {
    std::ranges::copy(tensor.to_vector<std::int32_t>(), values.begin());
    return values;
  }
  dispatch_float(tensor.dtype(), "to_doubles", [&](auto tag) {
    std::ranges::transform(tensor.to_vector<decltype(tag)>(), values.begin(),
                           [](auto element) { return static_cast<double>(static_cast<float>(element)); });
  });
  return values;
}

::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected,
                                  const std::vector<double>& bounds) {
  if (actual.size() != expected.size())
    return ::testing::AssertionFailure() << actual.size() << " elements, expected " << expected.size();
  double worst = 0;
  std::size_t at = 0, failures = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    if (actual[i] == expected[i]) continue;
    const double difference = std::abs(actual[i] - expected[i]);
    if (difference <= bounds[i]) continue;  // false for NaN
    ++failures;
    const double excess = difference / bounds[i];
    if (failures == 1 || !(excess <= worst)) worst = excess, at = i;
  }
  if (failures == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << failures << " of " << actual.size() << " elements differ; worst at " << at
                                       << ": " << actual[at] << ", expected " << expected[at] << " +- " << bounds[at];
}

::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected, Bound bound) {
  std::vector<double> bounds(expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) bounds[i] = bound.absolute + bound.relative * std::abs(expected[i]);
  return within(actual, expected, bounds);
}

std::vector<double> rounded_once(std::vector<double> bounds, const std::vector<double>& expected, DType dtype) {
  if (dtype == DType::f32) return bounds;
  for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] += rounding_error(dtype, std::abs(expected[i]) + bounds[i]);
  return bounds;
}

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  if (difference == 0) return 0;
  return norm == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(difference / norm);
}

}  // namespace accrue::testing
