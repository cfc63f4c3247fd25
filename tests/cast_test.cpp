#include "kernels/cast.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::cast_test {
namespace {

using testing::error_message;
using testing::tensor_of;

// The correctly rounded value of a format with `precision` significant bits, exponents from `lowest` and the largest
// finite value `largest`, computed in f64, where the scaling is exact: an oracle that shares no code with the
// conversions.
double rounded(double value, int precision, int lowest, double largest) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int quantum = std::max(exponent - precision, lowest - precision + 1);
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -quantum)), quantum);
  return std::abs(result) > largest ? std::copysign(HUGE_VAL, value) : result;
}
double rounded(double value, DType to) {
  if (to == DType::f16) return rounded(value, 11, -14, 65504);
  if (to == DType::bf16) return rounded(value, 8, -126, 0x1.fep127);
  return value;
}

template <class T>
std::vector<T> all_halves() {
  std::vector<T> values(65536);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) values[bits] = std::bit_cast<T>(static_cast<std::uint16_t>(bits));
  return values;
}

Tensor converted(const Tensor& x, DType to) {
  const Tensor out = Tensor::empty(x.shape(), to, x.device());
  cast({.out = out, .x = x});
  return out;
}

void expect_rounded(const Tensor& x, DType to) {
  const std::vector<double> actual = testing::to_doubles(converted(x, to));
  const std::vector<double> source = testing::to_doubles(x);
  std::size_t failures = 0;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const double expected = rounded(source[i], to);
    const bool same = std::isnan(expected) ? std::isnan(actual[i])
                                           : actual[i] == expected && std::signbit(actual[i]) == std::signbit(expected);
    if (!same && ++failures <= 5)
      ADD_FAILURE() << name_of(x.dtype()) << " " << source[i] << " became " << actual[i] << ", expected " << expected;
  }
  EXPECT_EQ(failures, 0u);
}

// Every half's value, the middle between it and the next one, and the floats on both sides of that middle.
template <class T>
std::vector<float> rounding_boundaries() {
  std::vector<float> values;
  for (const T half : all_halves<T>()) {
    const auto value = static_cast<float>(half);
    T above;
    above.bits = static_cast<std::uint16_t>(half.bits + 1);
    const float next = static_cast<float>(above);
    values.push_back(value);
    if (!std::isfinite(value)) continue;
    // Beyond the largest half, "the next one" is where the next step would be.
    const float step = std::isfinite(next)
                           ? next - value
                           : value - static_cast<float>(std::bit_cast<T>(static_cast<std::uint16_t>(half.bits - 1)));
    const float middle = value + step / 2;
    for (const float toward : {-HUGE_VALF, HUGE_VALF}) values.push_back(std::nextafter(middle, toward));
    values.push_back(middle);
  }
  return values;
}

TEST(Cast, ConvertsEveryHalfToEveryDtype) {
  for (const Device device : testing::devices())
    for (const DType to : testing::float_dtypes) {
      expect_rounded(Tensor::from<f16>(all_halves<f16>(), {65536}, device), to);
      expect_rounded(Tensor::from<bf16>(all_halves<bf16>(), {65536}, device), to);
    }
}

TEST(Cast, RoundsToNearestEvenAtEveryBoundary) {
  for (const Device device : testing::devices())
    for (const std::vector<float>& values : {rounding_boundaries<f16>(), rounding_boundaries<bf16>()})
      for (const DType to : testing::float_dtypes)
        expect_rounded(tensor_of(values, {static_cast<std::int64_t>(values.size())}, DType::f32, device), to);
}

// Of NaN too, which a GPU converts to one of its own: the tests of other devices look at the values.
TEST(Cast, GivesTheBitsOfTheScalarConversion) {
  std::vector<float> values = rounding_boundaries<f16>();
  for (const std::uint32_t bits : {0x7f800001u, 0x7fbfffffu, 0x7fc00000u, 0xff800001u, 0xffffffffu, 0x7f802000u})
    values.push_back(std::bit_cast<float>(bits));  // NaN, some of whose payloads vanish in a half
  const Tensor x = tensor_of(values, {static_cast<std::int64_t>(values.size())});
  const std::vector<f16> halves = converted(x, DType::f16).to_vector<f16>();
  const std::vector<bf16> bfloats = converted(x, DType::bf16).to_vector<bf16>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(halves[i].bits, f16(values[i]).bits) << values[i];
    EXPECT_EQ(bfloats[i].bits, bf16(values[i]).bits) << values[i];
  }
}

// Whole vectors, and what is left over, have conversions of their own.
TEST(Cast, GivesTheBitsOfTheScalarConversionForEveryHalf) {
  std::vector<f16> halves = all_halves<f16>();
  halves.insert(halves.begin(), f16(1));  // signalling NaNs are in whole vectors and, the last ones, in the remainder
  const std::vector<float> floats =
      converted(Tensor::from<f16>(halves, {static_cast<std::int64_t>(halves.size())}), DType::f32).to_vector<float>();
  for (std::size_t i = 0; i < halves.size(); ++i)
    ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]), std::bit_cast<std::uint32_t>(static_cast<float>(halves[i])))
        << i;
}

TEST(Cast, MakesASignallingNanQuietWhereverItLies) {
  f16 signalling;
  signalling.bits = 0x7d00;
  const Tensor x = Tensor::from<f16>(std::vector<f16>(19, signalling), {19});
  for (const float value : converted(x, DType::f32).to_vector<float>())
    EXPECT_EQ(std::bit_cast<std::uint32_t>(value), 0x7fe00000u | (0x100u << 13)) << "quiet, with its payload";
}

TEST(Cast, ConvertsEverySizeOfTheSweep) {
  for (const Device device : testing::devices())
    for (const std::int64_t rows : testing::sweep_rows)
      for (const std::int64_t cols : testing::sweep_cols)
        for (const DType from : testing::float_dtypes)
          for (const DType to : testing::float_dtypes) {
            SCOPED_TRACE(fmt::format("{} x {} on {}", rows, cols, device.to_string()));
            expect_rounded(testing::random_tensor({rows, cols}, 1, from, device), to);
          }
}

// A view need not begin where a 16-byte access may.
TEST(Cast, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType from : testing::float_dtypes)
      for (const DType to : testing::float_dtypes) {
        SCOPED_TRACE(device.to_string());
        const Tensor buffer = testing::random_tensor({100}, 1, from, device), out = Tensor::zeros({102}, to, device);
        const Tensor x = buffer.view({97}, 1);
        cast({.out = out.view({97}, 3), .x = x});
        EXPECT_EQ(testing::to_doubles(out.view({97}, 3)), testing::to_doubles(converted(x, to)));
        EXPECT_EQ(testing::to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
        EXPECT_EQ(testing::to_doubles(out.view({2}, 100)), (std::vector<double>{0, 0}));
      }
}

TEST(Cast, ToTheSameDtypeKeepsEveryBit) {
  for (const Device device : testing::devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor x = Tensor::from<f16>(all_halves<f16>(), {65536}, device);
    EXPECT_EQ(converted(x, DType::f16).to_vector<f16>(), x.to_vector<f16>());
    cast({.out = x, .x = x});
    EXPECT_EQ(x.to_vector<f16>(), all_halves<f16>()) << "in place";
  }
}

TEST(Cast, HasTheSameBitsForAnyNumberOfThreads) {
  const Tensor x = testing::random_tensor({129, 1001}, 1);
  testing::expect_same_bits_for_any_thread_count([&] {
    return std::vector{converted(x, DType::f16), converted(x, DType::bf16),
                       converted(converted(x, DType::f16), DType::bf16)};
  });
}

TEST(Cast, NamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({6}), ids = Tensor::zeros({2, 3}, DType::i32);
  const Tensor flat = Tensor::zeros({10}), left = flat.view({6}), right = flat.view({6}, 2);
  EXPECT_EQ(error_message([&] { cast({.out = x}); }), "cast: x must be given");
  EXPECT_EQ(error_message([&] { cast({.x = x}); }), "cast: out must be given");
  EXPECT_EQ(error_message([&] { cast({.out = other, .x = x}); }),
            "cast: out must have shape [2, 3] like x, but has [6]");
  EXPECT_EQ(error_message([&] { cast({.out = x, .x = ids}); }), "cast: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(error_message([&] { cast({.out = ids, .x = x}); }), "cast: out must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(error_message([&] { cast({.out = left, .x = right}); }),
            "cast: out and x must be the same bytes or disjoint, but overlap partly");
}

}  // namespace
}  // namespace accrue::kernels::cast_test
