#include "optim/optimizer.h"

#include <cmath>

namespace accrue::optim {

void require_fraction(std::string_view name, std::string_view quantity, double value) {
  if (!(value >= 0 && value < 1))
    fail(ErrorKind::usage, "{}: {} must be at least 0 and less than 1, but is {}", name, quantity, value);
}

void require_positive(std::string_view name, std::string_view quantity, double value) {
  if (!(value > 0 && std::isfinite(value)))
    fail(ErrorKind::usage, "{}: {} must be a positive number, but is {}", name, quantity, value);
}

void require_not_negative(std::string_view name, std::string_view quantity, double value) {
  if (!(value >= 0 && std::isfinite(value)))
    fail(ErrorKind::usage, "{}: {} must be a number that is not negative, but is {}", name, quantity, value);
}

Tensor slice(const Tensor& flat, const ParameterGroup& group) {
  return flat.defined() ? flat.view({group.count}, group.offset) : Tensor();
}

Tensor compute_copy(const ParameterStore& store) {
  return store.compute_dtype() == DType::f32 ? Tensor() : store.values();
}

}  // namespace accrue::optim
