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
using U64 = hn::RepartitionToWide<U32>;
using WideWords = hn::Vec<U64>;

// The two words of the key in each of the ten rounds.
struct PhiloxKeys {
  WideWords round[10][2];

  HWY_INLINE explicit PhiloxKeys(std::uint64_t seed) {
    auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (auto& key : round) {
      key[0] = hn::Set(U64(), k0), key[1] = hn::Set(U64(), k1);
      k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
  }
};

// Philox4x32-10 of one counter per 64-bit lane. A word occupies the lower half of its lane; the upper half may hold
// anything, as the multiplication of lower halves ignores it and the exclusive ors keep the halves apart.
struct Philox {
  WideWords c0, c1, c2, c3;

  HWY_INLINE void round(const WideWords (&key)[2]) {
    const U32 d;
    const WideWords p0 = hn::MulEven(hn::BitCast(d, c0), hn::Set(d, 0xD2511F53u));
    const WideWords p1 = hn::MulEven(hn::BitCast(d, c2), hn::Set(d, 0xCD9E8D57u));
    c0 = hn::Xor(hn::ShiftRight<32>(p1), hn::Xor(c1, key[0]));
    c1 = p1;
    c2 = hn::Xor(hn::ShiftRight<32>(p0), hn::Xor(c3, key[1]));
    c3 = p0;
  }
};

// Two vectors of counters at a time, so that the rounds of one fill the waits of the other.
HWY_INLINE void philox4x32(Philox& a, Philox& b, const PhiloxKeys& keys) {
  for (const auto& key : keys.round) {
    a.round(key);
    b.round(key);
  }
}

// Lane i of word[0..3] on return is philox4x32({word[0], …, word[3]} of lane i, seed).
HWY_INLINE void philox4x32(Words (&word)[4], const PhiloxKeys& keys) {
  const U32 d;
  const U64 wide;
  const auto even = [&](int i) HWY_ATTR { return hn::BitCast(wide, word[i]); };
  const auto odd = [&](int i) HWY_ATTR { return hn::ShiftRight<32>(hn::BitCast(wide, word[i])); };
  Philox a{even(0), even(1), even(2), even(3)}, b{odd(0), odd(1), odd(2), odd(3)};
  philox4x32(a, b, keys);
  const auto joined = [&](WideWords low, WideWords high) HWY_ATTR {
    return hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(high)), hn::BitCast(d, low));
  };
  word[0] = joined(a.c0, b.c0);
  word[1] = joined(a.c1, b.c1);
  word[2] = joined(a.c2, b.c2);
  word[3] = joined(a.c3, b.c3);
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
