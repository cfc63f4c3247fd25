// Comparison of tensors with a reference in double precision, under bounds derived from the arithmetic.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace accrue::testing {

// Unit roundoff: the largest relative error of one rounding.
constexpr double unit_roundoff(DType dtype) {
  return dtype == DType::f32 ? 0x1p-24 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
}

inline std::vector<double> to_doubles(const Tensor& tensor) {
  std::vector<double> values;
  const auto append = [&](const auto& elements) {
    for (const auto& element : elements) values.push_back(static_cast<double>(static_cast<float>(element)));
  };
  if (tensor.dtype() == DType::i32) {
    for (const std::int32_t element : tensor.to_vector<std::int32_t>()) values.push_back(element);
  } else {
    dispatch_float(tensor.dtype(), "to_doubles", [&](auto tag) { append(tensor.to_vector<decltype(tag)>()); });
  }
  return values;
}

// |actual - expected| <= absolute + relative * |expected|, element by element; NaN and infinities must match exactly.
struct Bound {
  double relative = 0;
  double absolute = 0;
};

inline ::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected,
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

inline ::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected,
                                         Bound bound) {
  std::vector<double> bounds(expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) bounds[i] = bound.absolute + bound.relative * std::abs(expected[i]);
  return within(actual, expected, bounds);
}

template <class Bounds>
::testing::AssertionResult within(const Tensor& actual, const std::vector<double>& expected, const Bounds& bounds) {
  return within(to_doubles(actual), expected, bounds);
}

// The largest error of rounding a value of at most this magnitude to a dtype; below the smallest normal number the
// steps stay the same.
inline double rounding_error(DType dtype, double magnitude) {
  const double smallest_step = dtype == DType::f16 ? 0x1p-24 : dtype == DType::bf16 ? 0x1p-133 : 0x1p-149;
  return std::max(unit_roundoff(dtype) * magnitude, smallest_step / 2);
}

// Bounds of results that were computed in f32 within `bounds` and then rounded once to `dtype`. What is in f32 anyway
// is not rounded again.
inline std::vector<double> rounded_once(std::vector<double> bounds, const std::vector<double>& expected, DType dtype) {
  if (dtype == DType::f32) return bounds;
  for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] += rounding_error(dtype, std::abs(expected[i]) + bounds[i]);
  return bounds;
}

// ||a - b|| / ||b||, 0 when both are zero.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  if (difference == 0) return 0;
  return norm == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(difference / norm);
}

// The message of the Error that a statement throws; a test failure and "" if it throws none.
template <class Function>
std::string error_message(Function&& function, ErrorKind kind = ErrorKind::internal) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no accrue::Error was thrown";
  return "";
}

}  // namespace accrue::testing
