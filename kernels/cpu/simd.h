// What the vectorised CPU kernels share. A kernel file <op>_cpu.cpp is compiled once per instruction set:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/<op>_cpu.cpp"
//   #include "kernels/cpu/simd.h"                        // after the file's other includes
//
//   HWY_BEFORE_NAMESPACE();
//   namespace accrue::kernels::cpu::HWY_NAMESPACE {
//   void add_range(const float* a, …, std::int64_t n) {
//     over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
//       access.store(hn::Add(access.load(a + i), access.load(b + i)), out + i);
//     });
//   }
//   }  // namespace accrue::kernels::cpu::HWY_NAMESPACE
//   HWY_AFTER_NAMESPACE();
//
//   #if HWY_ONCE
//   namespace accrue::kernels::cpu {
//   HWY_EXPORT(add_range);
//   void add(const Add& op) { … HWY_DYNAMIC_DISPATCH(add_range)(…); … }
//   }  // namespace accrue::kernels::cpu
//   #endif
//
// Lambdas in the per-target part need HWY_ATTR before their body.

#ifndef ACCRUE_KERNELS_CPU_SIMD_ONCE
#define ACCRUE_KERNELS_CPU_SIMD_ONCE

// On x86 the lowest level is SSE4 (2008) instead of Highway's scalar fallback, which lacks some operations; AVX2 and
// AVX-512 are chosen at run time. SSSE3 and the AVX-512 extensions would only add compile time.
#define HWY_WANT_SSE4 1
#if defined(__x86_64__) || defined(_M_X64)
#define HWY_DISABLED_TARGETS (HWY_SCALAR | HWY_EMU128 | HWY_SSSE3 | HWY_AVX3_DL)
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/dtype.h"
#include "hwy/foreach_target.h"  // includes HWY_TARGET_INCLUDE for every target but the last

#endif  // ACCRUE_KERNELS_CPU_SIMD_ONCE

#include "hwy/highway.h"

// Highway flips HWY_TARGET_TOGGLE at every target: the part below is compiled once for each.
#if defined(ACCRUE_KERNELS_CPU_SIMD_PER_TARGET) == defined(HWY_TARGET_TOGGLE)
#ifdef ACCRUE_KERNELS_CPU_SIMD_PER_TARGET
#undef ACCRUE_KERNELS_CPU_SIMD_PER_TARGET
#else
#define ACCRUE_KERNELS_CPU_SIMD_PER_TARGET
#endif

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The vectors of all kernels: f32, as wide as the target has them.
using F32 = hn::ScalableTag<float>;
using Floats = hn::Vec<F32>;

inline std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(F32())); }

// F16C came with AVX2; better targets have smaller numbers in Highway.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
#define ACCRUE_KERNELS_CPU_CONVERTS_F16 1
#else
#define ACCRUE_KERNELS_CPU_CONVERTS_F16 0
#endif

// ---- conversion of the storage types; the bits are those of core/dtype.h's scalar conversions ----

HWY_INLINE Floats load_as_f32(const float* from) { return hn::LoadU(F32(), from); }

HWY_INLINE Floats load_as_f32(const bf16* from) {
  const hn::RebindToUnsigned<F32> du32;
  const hn::Rebind<std::uint16_t, F32> du16;
  const auto bits = hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

HWY_INLINE Floats load_as_f32(const f16* from) {
#if ACCRUE_KERNELS_CPU_CONVERTS_F16
  return hn::PromoteTo(F32(),
                       hn::LoadU(hn::Rebind<hwy::float16_t, F32>(), reinterpret_cast<const hwy::float16_t*>(from)));
#else
  // Without conversion instructions Highway's emulation gives up infinities and NaN.
  HWY_ALIGN float lane[HWY_LANES(float)];
  for (std::int64_t i = 0; i < lanes(); ++i) lane[i] = static_cast<float>(from[i]);
  return hn::Load(F32(), lane);
#endif
}

HWY_INLINE void store_from_f32(Floats v, float* to) { hn::StoreU(v, F32(), to); }

HWY_INLINE void store_from_f32(Floats v, bf16* to) {
  const hn::RebindToUnsigned<F32> du32;
  const hn::RebindToSigned<F32> di32;
  const hn::Rebind<std::uint16_t, F32> du16;
  const auto u = hn::BitCast(du32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du32, 1));
  const auto rounded = hn::Add(u, hn::Add(odd, hn::Set(du32, 0x7fff)));  // to nearest, ties to even
  const auto quiet = hn::Or(u, hn::Set(du32, 0x00400000));               // a NaN must not round to infinity
  const auto bits = hn::IfThenElse(hn::RebindMask(du32, hn::IsNaN(v)), quiet, rounded);
  const auto high = hn::BitCast(di32, hn::ShiftRight<16>(bits));
  hn::StoreU(hn::DemoteTo(du16, high), du16, reinterpret_cast<std::uint16_t*>(to));
}

HWY_INLINE void store_from_f32(Floats v, f16* to) {
#if ACCRUE_KERNELS_CPU_CONVERTS_F16
  const hn::Rebind<hwy::float16_t, F32> df16;
  hn::StoreU(hn::DemoteTo(df16, v), df16, reinterpret_cast<hwy::float16_t*>(to));
#else
  HWY_ALIGN float lane[HWY_LANES(float)];
  hn::Store(v, F32(), lane);
  for (std::int64_t i = 0; i < lanes(); ++i) to[i] = f16(lane[i]);
#endif
}

// ---- loops ----

// How a loop's body reads and writes lanes() elements; T is float, f16 or bf16.
struct WholeVector {
  template <class T>
  HWY_INLINE Floats load(const T* from, [[maybe_unused]] float rest = 0) const {
    return load_as_f32(from);
  }
  template <class T>
  HWY_INLINE void store(Floats v, T* to) const {
    store_from_f32(v, to);
  }
};

// The same for the last `count` < lanes() elements: other lanes read as zero (or `rest`) and are not written. Through a
// buffer, because masked accesses may fault on some targets.
struct PartOfVector {
  std::int64_t count;

  template <class T>
  HWY_INLINE Floats load(const T* from, float rest = 0) const {
    HWY_ALIGN float lane[HWY_LANES(float)];
    for (std::int64_t i = 0; i < count; ++i) lane[i] = static_cast<float>(from[i]);
    for (std::int64_t i = count; i < lanes(); ++i) lane[i] = rest;
    return hn::Load(F32(), lane);
  }
  template <class T>
  HWY_INLINE void store(Floats v, T* to) const {
    HWY_ALIGN float lane[HWY_LANES(float)];
    hn::Store(v, F32(), lane);
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(lane[i]);
  }
};

// f(i, access) for i = 0, lanes(), 2 * lanes(), … covering [0, n): one body for whole vectors and the remainder.
template <class F>
HWY_INLINE void over_vectors(std::int64_t n, F&& f) {
  const std::int64_t step = lanes();
  std::int64_t i = 0;
  for (; i + step <= n; i += step) f(i, WholeVector{});
  if (i < n) f(i, PartOfVector{n - i});
}

HWY_INLINE float sum_of_lanes(Floats v) { return hn::GetLane(hn::SumOfLanes(F32(), v)); }
HWY_INLINE float max_of_lanes(Floats v) { return hn::GetLane(hn::MaxOfLanes(F32(), v)); }

// ---- functions ----

// Between low and high; NaN stays NaN.
HWY_INLINE Floats clamp(Floats x, float low, float high) {
  const F32 d;
#if HWY_ARCH_X86
  // MINPS and MAXPS return their second operand when either is NaN.
  return hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), x));
#else
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Min(hn::Set(d, high), hn::Max(hn::Set(d, low), x)));
#endif
}

// e^x over the whole range: e^-inf = 0, e^+inf = inf, NaN stays NaN, subnormal results are right; within 2 ulp.
// x = n ln 2 + r with |r| <= ln(2)/2; e^r by a polynomial with relative error 2^-28 (minimax, fitted for this file).
HWY_INLINE Floats exp(Floats x) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  x = clamp(x, -104.0f, 89.0f);  // e^-104 rounds to 0, e^89 overflows
  // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits; 254 is twice the exponent's bias.
  const Floats shift = hn::Set(d, 0x1.8p23f + 254.0f);
  const Floats shifted = hn::MulAdd(x, hn::Set(d, 0x1.715476p0f), shift);
  const Floats n = hn::Sub(shifted, shift);
  // ln 2 in two parts, of which n times the first is exact.
  Floats r = hn::NegMulAdd(n, hn::Set(d, 0x1.62e4p-1f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.7f7d1cp-20f), r);
  Floats p = hn::Set(d, 0x1.6ac322p-10f);
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.123ec2p-7f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.555850p-5f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.55548ap-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.fffffcp-2f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  // 2^n as two factors, since n reaches from -150 to 128.
  const auto bits = hn::BitCast(di, shifted);
  const auto half = hn::ShiftRight<1>(bits);
  const auto rest = hn::Sub(bits, half);
  p = hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(half)));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(rest)));
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#undef ACCRUE_KERNELS_CPU_CONVERTS_F16  // the next target decides anew

#endif  // per target
