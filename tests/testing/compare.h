// Comparison of tensors with a reference in double precision, under bounds derived from the arithmetic.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace accrue::testing {

// Unit roundoff: the largest relative error of one rounding.
constexpr double unit_roundoff(DType dtype) {
  return dtype == DType::f32 ? 0x1p-24 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
}

std::vector<double> to_doubles(const Tensor& tensor);

// |actual - expected| <= absolute + relative * |expected|, element by element; NaN and infinities must match exactly.
struct Bound {
  double relative = 0;
  double absolute = 0;
};

::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected,
                                  const std::vector<double>& bounds);
::testing::AssertionResult within(const std::vector<double>& actual, const std::vector<double>& expected, Bound bound);

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
std::vector<double> rounded_once(std::vector<double> bounds, const std::vector<double>& expected, DType dtype);

// ||a - b|| / ||b||, 0 when both are zero.
double relative_error(const std::vector<double>& a, const std::vector<double>& b);

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
