// Arithmetic of device code that C++ does not have: "CUDA Math API Reference Manual".
//
// The fast approximations (__expf and others) are as exact here as the host's functions: results differ from a GPU's by
// its error bounds.
#pragma once

#include <algorithm>
#include <bit>
#include <climits>
#include <cmath>
#include <cstdint>
#include <limits>

// Device code calls these without std::.
using std::isfinite;
using std::isinf;
using std::isnan;

#define ACCRUE_EMULATOR_MIN_MAX(type)                       \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
ACCRUE_EMULATOR_MIN_MAX(int)
ACCRUE_EMULATOR_MIN_MAX(unsigned)
ACCRUE_EMULATOR_MIN_MAX(long)
ACCRUE_EMULATOR_MIN_MAX(unsigned long)
ACCRUE_EMULATOR_MIN_MAX(long long)
ACCRUE_EMULATOR_MIN_MAX(unsigned long long)
#undef ACCRUE_EMULATOR_MIN_MAX
// A NaN loses against a number.
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }

// Bits.
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (x >> i & 1) << (31 - i);
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((std::uint64_t{high} << 32 | low) << (shift % 32)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift % 32));
}
// Byte i of the result is the byte of b:a that the i-th nibble of `selector` names; its highest bit repeats the sign.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 0xF;
    unsigned byte = static_cast<unsigned>(bytes >> 8 * (nibble & 7)) & 0xFF;
    if (nibble & 8) byte = byte & 0x80 ? 0xFF : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

// Integers.
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>(std::int64_t{a} * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}

// float, rounded to nearest.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }
inline float rsqrtf(float x) { return __frsqrt_rn(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float fdividef(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return std::fmin(std::fmax(x, 0.0f), 1.0f); }  // NaN gives 0

namespace accrue::emulator::detail {

// On the device a conversion gives the nearest integer that there is, and 0 for NaN; in C++ it is undefined then.
template <class Integer, class Real>
Integer saturating(Real x) {
  if (std::isnan(x)) return 0;
  // The bound itself may not be representable, but its successor, a power of two, is.
  const Real beyond = std::ldexp(Real{1}, std::numeric_limits<Integer>::digits);
  if (x >= beyond) return std::numeric_limits<Integer>::max();
  if (x <= static_cast<Real>(std::numeric_limits<Integer>::min())) return std::numeric_limits<Integer>::min();
  return static_cast<Integer>(x);
}

}  // namespace accrue::emulator::detail

#define ACCRUE_EMULATOR_TO_INTEGER(type, name)                                                                       \
  inline type __float2##name##_rn(float x) { return accrue::emulator::detail::saturating<type>(std::nearbyint(x)); } \
  inline type __float2##name##_rz(float x) { return accrue::emulator::detail::saturating<type>(x); }                 \
  inline type __float2##name##_rd(float x) { return accrue::emulator::detail::saturating<type>(std::floor(x)); }     \
  inline type __float2##name##_ru(float x) { return accrue::emulator::detail::saturating<type>(std::ceil(x)); }
ACCRUE_EMULATOR_TO_INTEGER(int, int)
ACCRUE_EMULATOR_TO_INTEGER(unsigned, uint)
ACCRUE_EMULATOR_TO_INTEGER(long long, ll)
ACCRUE_EMULATOR_TO_INTEGER(unsigned long long, ull)
#undef ACCRUE_EMULATOR_TO_INTEGER
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// Macros, because the C library declares functions of these names.
#define __expf(x) std::exp(static_cast<float>(x))
#define __exp10f(x) std::pow(10.0f, static_cast<float>(x))
#define __logf(x) std::log(static_cast<float>(x))
#define __log2f(x) std::log2(static_cast<float>(x))
#define __log10f(x) std::log10(static_cast<float>(x))
#define __powf(x, y) std::pow(static_cast<float>(x), static_cast<float>(y))
#define __sinf(x) std::sin(static_cast<float>(x))
#define __cosf(x) std::cos(static_cast<float>(x))
#define __tanf(x) std::tan(static_cast<float>(x))
