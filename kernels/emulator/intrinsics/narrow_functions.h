// The functions of __half and __nv_bfloat16 that the toolkit has for device compilers alone: fused multiply-add, and
// mathematics in pairs and alone. Each is computed in double and rounded once.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/emulator/emulator.h"

namespace accrue::emulator::detail {

// a * b + c, rounded to odd: what is rounded from that to a format two bits narrower is as if rounded from the exact
// value (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd").
// The product of two narrow numbers is exact in double.
inline double fused_multiply_add(double a, double b, double c) {
  const double product = a * b, sum = product + c;
  if (!std::isfinite(sum)) return sum;
  const double c_part = sum - product, error = (product - (sum - c_part)) + (c - c_part);
  const bool is_odd = (std::bit_cast<std::uint64_t>(sum) & 1) != 0;
  if (error == 0 || is_odd) return sum;
  return std::nextafter(sum, error > 0 ? HUGE_VAL : -HUGE_VAL);
}

inline double relu(double x) { return x < 0 ? 0 : x; }  // NaN stays
inline double saturate(double x) { return std::fmin(std::fmax(x, 0), 1); }
inline double exp10(double x) { return std::pow(10.0, x); }
inline double reciprocal(double x) { return 1 / x; }
inline double reciprocal_root(double x) { return 1 / std::sqrt(x); }

}  // namespace accrue::emulator::detail

#define ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, name, function)                                         \
  inline type h##name(type x) { return accrue_emulator_round(function(accrue_emulator_widen(x)), type{}); } \
  inline pair h2##name(pair x) { return pair(h##name(x.x), h##name(x.y)); }

#define ACCRUE_EMULATOR_NARROW_FMA(type, pair, suffix, finish)                         \
  inline type __hfma##suffix(type a, type b, type c) {                                 \
    const double exact = accrue::emulator::detail::fused_multiply_add(                 \
        accrue_emulator_widen(a), accrue_emulator_widen(b), accrue_emulator_widen(c)); \
    return accrue_emulator_round(finish(exact), type{});                               \
  }                                                                                    \
  inline pair __hfma2##suffix(pair a, pair b, pair c) {                                \
    return pair(__hfma##suffix(a.x, b.x, c.x), __hfma##suffix(a.y, b.y, c.y));         \
  }

// Needs double accrue_emulator_widen(type) and type accrue_emulator_round(double, type).
#define ACCRUE_EMULATOR_NARROW_FUNCTIONS(type, pair)                                            \
  ACCRUE_EMULATOR_NARROW_FMA(type, pair, , )                                                    \
  ACCRUE_EMULATOR_NARROW_FMA(type, pair, _relu, accrue::emulator::detail::relu)                 \
  ACCRUE_EMULATOR_NARROW_FMA(type, pair, _sat, accrue::emulator::detail::saturate)              \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, exp, std::exp)                                    \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, exp2, std::exp2)                                  \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, exp10, accrue::emulator::detail::exp10)           \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, log, std::log)                                    \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, log2, std::log2)                                  \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, log10, std::log10)                                \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, sqrt, std::sqrt)                                  \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, rsqrt, accrue::emulator::detail::reciprocal_root) \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, rcp, accrue::emulator::detail::reciprocal)        \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, sin, std::sin)                                    \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, cos, std::cos)                                    \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, tanh, std::tanh)                                  \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, tanh_approx, std::tanh)                           \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, ceil, std::ceil)                                  \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, floor, std::floor)                                \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, trunc, std::trunc)                                \
  ACCRUE_EMULATOR_NARROW_FUNCTION(type, pair, rint, std::nearbyint)
