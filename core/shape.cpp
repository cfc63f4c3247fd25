#include "core/shape.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"

namespace accrue {

Shape::Shape(std::span<const std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  check(extents.size() <= static_cast<std::size_t>(max_rank), "Shape: at most {} axes, but got {}", max_rank,
        extents.size());
  std::copy(extents.begin(), extents.end(), extents_.begin());
  for (std::int64_t extent : extents) {
    check(extent >= 0, "Shape: extents must not be negative, but got {}", *this);
    const bool fits = !__builtin_mul_overflow(numel_, extent, &numel_);
    check(fits, "Shape: the number of elements of {} does not fit 63 bits", *this);
  }
}

std::int64_t Shape::operator[](int axis) const {
  const int index = axis < 0 ? axis + rank_ : axis;
  check(index >= 0 && index < rank_, "Shape: axis {} does not exist in {}", axis, *this);
  return extents_[static_cast<std::size_t>(index)];
}

std::int64_t Shape::rows() const {
  check(rank_ >= 1, "Shape: a scalar has no rows");
  std::int64_t product = 1;
  for (int axis = 0; axis + 1 < rank_; ++axis) product *= extents_[static_cast<std::size_t>(axis)];
  return product;
}

Shape Shape::with_last(std::int64_t extent) const {
  check(rank_ >= 1, "Shape: a scalar has no last axis to replace");
  std::array<std::int64_t, max_rank> changed = extents_;
  changed[static_cast<std::size_t>(rank_ - 1)] = extent;
  return Shape(std::span<const std::int64_t>(changed.data(), static_cast<std::size_t>(rank_)));
}

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(extents(), ", ")); }

}  // namespace accrue
