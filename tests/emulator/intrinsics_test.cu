// Atomics, arithmetic, the half types and cp.async.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "tests/emulator/kernel_run.h"

namespace accrue::emulator {
namespace {

__global__ void atomics(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  atomicAdd(&out[0], t);
  atomicSub(&out[1], t);
  atomicMin(&out[2], t - 20);
  atomicMax(&out[3], t);
  atomicAnd(&out[4], ~(1 << t % 32));
  atomicOr(&out[5], 1 << t % 32);
  atomicXor(&out[6], 1 << t % 32);
  atomicInc(reinterpret_cast<unsigned*>(&out[7]), 9);
  atomicDec(reinterpret_cast<unsigned*>(&out[8]), 9);
  int seen = out[9];
  for (int expected = seen - 1; expected != seen; seen = atomicCAS(&out[9], expected, expected + 2)) expected = seen;
  if (atomicExch(&out[10], 1) == 0) out[11] += 1;
}

TEST(EmulatedIntrinsics, AtomicsUpdateMemoryInEveryOrder) {
  in_every_order([] {
    const std::vector<int> out = output_of(atomics, {dim3(1), dim3(64)}, 12, 0);
    EXPECT_EQ(out[0], 64 * 63 / 2);
    EXPECT_EQ(out[1], -64 * 63 / 2);
    EXPECT_EQ(out[2], -20);
    EXPECT_EQ(out[3], 63);
    EXPECT_EQ(out[4], 0);
    EXPECT_EQ(out[5], -1);
    EXPECT_EQ(out[6], 0);               // each bit twice
    EXPECT_EQ(out[7], 64 % 10);         // wraps to 0 behind 9
    EXPECT_EQ(out[8], (10 - 64 % 10));  // wraps to 9 below 0
    EXPECT_EQ(out[9], 2 * 64);
    EXPECT_EQ(out[11], 1);
  });
}

template <class T>
__global__ void add_halves(T* out) {
  atomicAdd(&out[threadIdx.x % 3], T(0.5f));
}

TEST(EmulatedIntrinsics, AtomicsAddEveryFloatingPointType) {
  for (const float sum : output_of(add_halves<float>, {dim3(1), dim3(96)}, 3, 0.0f)) EXPECT_EQ(sum, 16.0f);
  for (const double sum : output_of(add_halves<double>, {dim3(1), dim3(96)}, 3, 0.0)) EXPECT_EQ(sum, 16.0);
  for (const __half sum : output_of(add_halves<__half>, {dim3(1), dim3(96)}, 3, __half(0.0f))) {
    EXPECT_EQ(__half2float(sum), 16.0f);
  }
  for (const __nv_bfloat16 sum : output_of(add_halves<__nv_bfloat16>, {dim3(1), dim3(96)}, 3, __nv_bfloat16(0.0f))) {
    EXPECT_EQ(__bfloat162float(sum), 16.0f);
  }
}

TEST(EmulatedIntrinsics, BitsAreCountedAndMoved) {
  EXPECT_EQ(__popc(0xF0F0u), 8);
  EXPECT_EQ(__popcll(~0ull), 64);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__clzll(1), 63);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__ffsll(1ll << 40), 41);
  EXPECT_EQ(__brev(0x80000001u), 0x80000001u);
  EXPECT_EQ(__brev(0x00000002u), 0x40000000u);
  EXPECT_EQ(__funnelshift_l(0x80000000u, 0x1u, 1), 0x3u);
  EXPECT_EQ(__funnelshift_r(0x2u, 0x1u, 1), 0x80000001u);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7530u), 0x77553300u);
  EXPECT_EQ(__byte_perm(0x80u, 0, 0x1098u), 0x008000FFu);
  EXPECT_EQ(__umulhi(0xFFFFFFFFu, 0xFFFFFFFFu), 0xFFFFFFFEu);
  EXPECT_EQ(__mulhi(-1, 1), -1);
  EXPECT_EQ(__umul64hi(~0ull, 2), 1ull);
  EXPECT_EQ(__float_as_uint(1.0f), 0x3F800000u);
  EXPECT_EQ(__uint_as_float(0x7F800000u), std::numeric_limits<float>::infinity());
}

TEST(EmulatedIntrinsics, ConversionsSaturate) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
  EXPECT_EQ(__float2int_rz(-2.9f), -2);
  EXPECT_EQ(__float2int_rd(-2.1f), -3);
  EXPECT_EQ(__float2int_ru(2.1f), 3);
  EXPECT_EQ(__float2int_rn(3e9f), std::numeric_limits<int>::max());
  EXPECT_EQ(__float2int_rn(-infinity), std::numeric_limits<int>::min());
  EXPECT_EQ(__float2int_rn(NAN), 0);
  EXPECT_EQ(__float2uint_rn(-1.0f), 0u);
  EXPECT_EQ(__float2uint_rz(infinity), std::numeric_limits<unsigned>::max());
  EXPECT_EQ(__float2ull_rn(1e18f), static_cast<unsigned long long>(1e18f));
}

TEST(EmulatedIntrinsics, ExtremesPreferNumbersToNan) {
  EXPECT_EQ(min(NAN, 1.0f), 1.0f);
  EXPECT_EQ(max(1.0f, NAN), 1.0f);
  EXPECT_EQ(max(-1, 1), 1);
  EXPECT_EQ(__saturatef(NAN), 0.0f);
  EXPECT_EQ(__saturatef(2.0f), 1.0f);
}

// Half types: against double, rounded once --------------------------------------------------------------------------

template <class T>
struct Format;
template <>
struct Format<__half> {
  static constexpr int digits = 11, least_exponent = -24;  // 2^-24 is the smallest subnormal number
  static double widen(__half x) { return static_cast<double>(__half2float(x)); }
  static __half from_bits(unsigned short bits) { return __ushort_as_half(bits); }
};
template <>
struct Format<__nv_bfloat16> {
  static constexpr int digits = 8, least_exponent = -133;
  static double widen(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
  static __nv_bfloat16 from_bits(unsigned short bits) { return __ushort_as_bfloat16(bits); }
};

// Half of the distance between neighbours at x: a correctly rounded result is that close to the exact one.
template <class T>
double half_unit(double x) {
  const int exponent = x == 0 ? Format<T>::least_exponent : std::ilogb(x) + 1 - Format<T>::digits;
  return std::ldexp(0.5, std::max(exponent, Format<T>::least_exponent));
}

template <class T>
std::vector<T> finite_samples() {
  std::mt19937 generator(17);
  std::vector<T> samples;
  while (samples.size() < 300) {
    const T sample = Format<T>::from_bits(static_cast<unsigned short>(generator()));
    if (std::isfinite(Format<T>::widen(sample))) samples.push_back(sample);
  }
  return samples;
}

template <class T>
class EmulatedHalf : public ::testing::Test {};
using HalfTypes = ::testing::Types<__half, __nv_bfloat16>;
TYPED_TEST_SUITE(EmulatedHalf, HalfTypes);

TYPED_TEST(EmulatedHalf, FunctionsRoundTheExactValueOnce) {
  const auto widen = Format<TypeParam>::widen;
  for (const TypeParam x : finite_samples<TypeParam>()) {
    const auto expect = [&](TypeParam actual, double exact, const char* name) {
      if (!std::isfinite(exact) || !std::isfinite(widen(actual))) return;
      // The host's double functions are wrong by at most a few units of their own, far below this format's.
      EXPECT_LE(std::abs(widen(actual) - exact), half_unit<TypeParam>(exact) * (1 + 1e-9))
          << name << " of " << widen(x);
    };
    const double value = widen(x), positive = std::abs(value);
    expect(hexp(x), std::exp(value), "exp");
    expect(hlog(__habs(x)), std::log(positive), "log");
    expect(hsqrt(__habs(x)), std::sqrt(positive), "sqrt");
    expect(hrsqrt(__habs(x)), 1 / std::sqrt(positive), "rsqrt");
    expect(hrcp(x), 1 / value, "rcp");
    expect(htanh(x), std::tanh(value), "tanh");
    expect(hrint(x), std::nearbyint(value), "rint");
  }
}

TYPED_TEST(EmulatedHalf, FusedMultiplyAddRoundsOnce) {
  const auto widen = Format<TypeParam>::widen;
  const std::vector<TypeParam> samples = finite_samples<TypeParam>();
  for (std::size_t i = 0; i + 2 < samples.size(); ++i) {
    const TypeParam a = samples[i], b = samples[i + 1], c = samples[i + 2];
    const double actual = widen(__hfma(a, b, c));
    // 64 bits of significand: nearer to the exact sum than the bound can tell.
    const long double exact = static_cast<long double>(widen(a)) * widen(b) + static_cast<long double>(widen(c));
    if (!std::isfinite(actual)) continue;
    EXPECT_LE(std::abs(actual - static_cast<double>(exact)), half_unit<TypeParam>(static_cast<double>(exact)));
  }
}

TEST(EmulatedBfloat16, FusedMultiplyAddBreaksATieByWhatIsFarBelow) {
  // 1 + 2^-8 lies half-way between two neighbours; a tiny third operand decides, although double cannot hold the sum.
  const __nv_bfloat16 a = __nv_bfloat16(1.0f + 0x1p-4f), b = __nv_bfloat16(1.0f - 0x1p-4f);  // 1 - 2^-8
  const __nv_bfloat16 tiny = __nv_bfloat16(0x1p-100f);
  const double product = 1 - 0x1p-8;
  EXPECT_EQ(static_cast<double>(__bfloat162float(__hfma(a, b, __nv_bfloat16(0.0f)))), product);  // below 1 it is exact
  const __nv_bfloat16 c = __nv_bfloat16(1.0f + 0x1p-7f);  // 1.0078125; times 1 + 2^-1 gives a tie
  const __nv_bfloat16 factor = __nv_bfloat16(1.5f);
  // 1.5 * (1 + 2^-7) = 1.5 + 1.5 * 2^-7: half-way between 1.5 + 2^-7 and 1.5 + 2^-6.
  EXPECT_EQ(__bfloat162float(__hfma(factor, c, tiny)), 1.5f + 0x1p-6f);
  EXPECT_EQ(__bfloat162float(__hfma(factor, c, -tiny)), 1.5f + 0x1p-7f);
}

// cp.async -----------------------------------------------------------------------------------------------------------

__global__ void copy_in_groups(float* out, const float* in) {
  __shared__ __align__(16) float first[4], second[4];
  copy_async(first, in, 16, Location::current());
  copy_async_commit();
  copy_async(second, in + 4, 16, Location::current());
  copy_async_commit();
  out[0] = first[0];
  copy_async_wait(1);
  out[1] = first[3];
  out[2] = second[0];
  copy_async_wait(0);
  out[3] = second[3];
}

TEST(EmulatedCopyAsync, ArrivesWhenItsGroupHasBeenWaitedFor) {
  const DeviceArray<float> in(std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  const std::vector<float> out = output_of(copy_in_groups, {dim3(1), dim3(1)}, 4, -1.0f, in.data());
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 3.0f);
  EXPECT_TRUE(std::isnan(out[2]));
  EXPECT_EQ(out[3], 7.0f);
}

__global__ void copy_misaligned(float*, const float* in) {
  __shared__ __align__(16) float tile[8];
  copy_async(tile, in + 1, 16, Location::current());
}

TEST(EmulatedCopyAsyncDeathTest, MustBeAligned) {
  const DeviceArray<float> in(8);
  EXPECT_EXIT(launch("copy", copy_misaligned, dim3(1), dim3(1), 0, nullptr, in.data(), in.data()),
              ::testing::ExitedWithCode(85), "cp.async from global memory that is not aligned to the size of the copy");
}

}  // namespace
}  // namespace accrue::emulator
