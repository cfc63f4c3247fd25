// Extents of a tensor, outermost first.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace accrue {

// Up to max_rank non-negative extents whose product fits int64 (checked on construction). A class and not an alias of
// vector, so that a shape never converts to or from a list of anything else, and prints itself: "[8, 768]".
class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;  // rank 0: a scalar, one element
  Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t numel() const { return numel_; }
  // Extent of an axis; negative axes count from the last.
  std::int64_t operator[](int axis) const;
  std::int64_t last() const { return (*this)[-1]; }
  // Product of all extents but the last: the rows when the tensor is seen as [rows, last()].
  std::int64_t rows() const;
  std::span<const std::int64_t> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }
  // The same extents with the last one replaced.
  Shape with_last(std::int64_t extent) const;

  std::string to_string() const;
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, max_rank> extents_{};
  int rank_ = 0;
  std::int64_t numel_ = 1;
};

}  // namespace accrue

template <>
struct fmt::formatter<accrue::Shape> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const accrue::Shape& shape, Context& context) const {
    return fmt::formatter<std::string>::format(shape.to_string(), context);
  }
};
