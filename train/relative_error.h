// How far one set of numbers is from another.
#pragma once

#include <cmath>

namespace accrue::train {

// ||result - reference|| / ||reference||, gathered pair by pair; that of a whole is the sum of its parts'.
struct RelativeError {
  double squared_difference = 0, squared_reference = 0;

  void include(double result, double reference) {
    const double difference = result - reference;
    squared_difference += difference * difference;
    squared_reference += reference * reference;
  }
  RelativeError& operator+=(const RelativeError& part) {
    squared_difference += part.squared_difference;
    squared_reference += part.squared_reference;
    return *this;
  }
  // Infinite when only the reference is zero, NaN when a value is.
  double ratio() const {
    if (squared_difference == 0) return 0;
    return std::sqrt(squared_difference / squared_reference);
  }
};

}  // namespace accrue::train
