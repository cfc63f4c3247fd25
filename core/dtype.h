// Element types of tensors, their host representations, and dispatch from a run-time DType to a compile-time type.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/check.h"

namespace accrue {

enum class DType : std::uint8_t { f32, f16, bf16, i32, u8 };

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "?";
}

constexpr bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

// bfloat16: the upper half of an IEEE binary32. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) : bits(round(value)) {}
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  friend bool operator==(bf16, bf16) = default;

 private:
  static std::uint16_t round(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x0040u);
    return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

// IEEE binary16. Conversion rounds to nearest, ties to even; beyond 65504 (+ half a step) it becomes infinite. Either
// way a NaN becomes quiet.
struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  explicit f16(float value);
  explicit operator float() const;
  friend bool operator==(f16, f16) = default;
};

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<T, f16>) {
    return DType::f16;
  } else if constexpr (std::is_same_v<T, bf16>) {
    return DType::bf16;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return DType::i32;
  } else {
    static_assert(std::is_same_v<T, std::uint8_t>, "not an element type of Accrue");
    return DType::u8;
  }
}

// Calls function(T{}) for the C++ type of a floating-point dtype; `what` names the operation in the error.
template <class Function>
decltype(auto) dispatch_float(DType dtype, std::string_view what, Function&& function) {
  switch (dtype) {
    case DType::f32:
      return std::forward<Function>(function)(float{});
    case DType::f16:
      return std::forward<Function>(function)(f16{});
    case DType::bf16:
      return std::forward<Function>(function)(bf16{});
    default:
      fail(ErrorKind::internal, "{}: needs a floating-point dtype (f32, f16 or bf16), but got {}", what,
           name_of(dtype));
  }
}

}  // namespace accrue
