// core/rng.h's philox4x32 for a vector of counters at once. Compiled once per instruction set.
#if defined(ACCRUE_KERNELS_CPU_PHILOX_PER_TARGET) == defined(HWY_TARGET_TOGGLE)
#ifdef ACCRUE_KERNELS_CPU_PHILOX_PER_TARGET
#undef ACCRUE_KERNELS_CPU_PHILOX_PER_TARGET
#else
#define ACCRUE_KERNELS_CPU_PHILOX_PER_TARGET
#endif

#include <cstdint>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

using U32 = hn::RebindToUnsigned<F32>;
using Words = hn::Vec<U32>;

// The upper halves of the 64-bit products.
HWY_INLINE Words multiply_high(Words a, Words b) {
  const U32 d;
  const hn::RepartitionToWide<U32> wide;
  const auto even = hn::BitCast(d, hn::MulEven(a, b));
  const auto odd = hn::BitCast(d, hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, a))), b));
  return hn::OddEven(odd, hn::Shuffle2301(even));
}

// Lane i of word[0..3] on return is philox4x32({word[0], …, word[3]} of lane i, key).
HWY_INLINE void philox4x32(Words (&word)[4], std::uint64_t key) {
  const U32 d;
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  const Words m0 = hn::Set(d, 0xD2511F53u), m1 = hn::Set(d, 0xCD9E8D57u);
  for (int round = 0; round < 10; ++round) {
    const Words high0 = multiply_high(word[0], m0), low0 = hn::Mul(word[0], m0);
    const Words high1 = multiply_high(word[2], m1), low1 = hn::Mul(word[2], m1);
    word[0] = hn::Xor(hn::Xor(high1, word[1]), hn::Set(d, k0));
    word[1] = low1;
    word[2] = hn::Xor(hn::Xor(high0, word[3]), hn::Set(d, k1));
    word[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// core/rng.h's uniform().
HWY_INLINE Floats uniform(Words bits) {
  const hn::RebindToSigned<F32> signed_words;
  const auto upper = hn::BitCast(signed_words, hn::ShiftRight<8>(bits));
  return hn::Mul(hn::ConvertTo(F32(), upper), hn::Set(F32(), 0x1p-24f));
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
