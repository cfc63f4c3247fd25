#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/check.h"
#include "testing/compare.h"

namespace accrue::dtype_test {
namespace {

// A binary format by its numbers, and conversion by arithmetic in double: nothing here looks at the bits of a float.
struct Format {
  int mantissa_bits;
  int min_exponent;  // of the smallest normal number
  int max_exponent;  // of the largest
};
constexpr Format half{.mantissa_bits = 10, .min_exponent = -14, .max_exponent = 15};
constexpr Format brain{.mantissa_bits = 7, .min_exponent = -126, .max_exponent = 127};

double value_of(const Format& format, std::uint32_t bits) {
  const double sign = bits & 0x8000u ? -1 : 1;
  const std::uint32_t mantissa = bits & ((1u << format.mantissa_bits) - 1);
  const auto exponent = static_cast<int>((bits & 0x7fffu) >> format.mantissa_bits);
  const double fraction = std::ldexp(mantissa, -format.mantissa_bits);
  if (exponent == 0) return sign * std::ldexp(fraction, format.min_exponent);
  if (exponent > format.max_exponent - format.min_exponent + 1)
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return sign * std::ldexp(1 + fraction, format.min_exponent + exponent - 1);
}

// To the nearest value of the format, ties to even: std::nearbyint in the default rounding mode on the scaled value.
double rounded(const Format& format, double x) {
  if (!std::isfinite(x) || x == 0) return x;
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const int ulp = exponent - format.mantissa_bits;
  const double result = std::ldexp(std::nearbyint(std::ldexp(x, -ulp)), ulp);
  const double largest = std::ldexp(2 - std::ldexp(1.0, -format.mantissa_bits), format.max_exponent);
  return std::abs(result) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : result;
}

template <class T>
double as_double(T value) {
  return static_cast<double>(static_cast<float>(value));
}

template <class T>
T of_bits(std::uint32_t bits) {
  T value;
  value.bits = static_cast<std::uint16_t>(bits);
  return value;
}

template <class T>
struct Half : ::testing::Test {
  static constexpr Format format = std::is_same_v<T, f16> ? half : brain;
};
using HalfTypes = ::testing::Types<f16, bf16>;
TYPED_TEST_SUITE(Half, HalfTypes);

TYPED_TEST(Half, EveryBitPatternHasTheValueOfItsFormat) {
  for (std::uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    const double expected = value_of(this->format, bits), actual = as_double(of_bits<TypeParam>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
    } else {
      ASSERT_EQ(actual, expected) << bits;
      ASSERT_EQ(std::signbit(actual), std::signbit(expected)) << bits;
    }
  }
}

TYPED_TEST(Half, EveryBitPatternSurvivesTheRoundTripThroughFloat) {
  for (std::uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    const auto value = of_bits<TypeParam>(bits);
    const TypeParam back(static_cast<float>(value));
    if (std::isnan(as_double(value))) {
      ASSERT_TRUE(std::isnan(as_double(back))) << bits;
      ASSERT_EQ(back.bits & 0x8000u, bits & 0x8000u) << bits;
    } else {
      ASSERT_EQ(back.bits, bits);
    }
  }
}

// Between every two neighbours: the midpoint, and the floats next to it on both sides.
TYPED_TEST(Half, MidpointsRoundToEvenAndTheirNeighboursToTheNearest) {
  const std::uint32_t infinity = TypeParam(std::numeric_limits<float>::infinity()).bits;
  for (std::uint32_t bits = 0; bits < infinity; ++bits) {
    const double below = value_of(this->format, bits);
    // Beyond the largest value the next step would be the power of two that the format lacks.
    const double above =
        bits + 1 == infinity ? std::ldexp(1.0, this->format.max_exponent + 1) : value_of(this->format, bits + 1);
    const auto middle = static_cast<float>((below + above) / 2);
    ASSERT_EQ(static_cast<double>(middle), (below + above) / 2) << "the midpoint must be a float";
    for (float sign : {1.0f, -1.0f}) {
      const std::uint32_t sign_bit = sign < 0 ? 0x8000u : 0;
      ASSERT_EQ(TypeParam(sign * middle).bits, sign_bit | (bits + (bits & 1u))) << bits;
      ASSERT_EQ(TypeParam(sign * std::nextafter(middle, 0.0f)).bits, sign_bit | bits) << bits;
      ASSERT_EQ(TypeParam(sign * std::nextafter(middle, std::numeric_limits<float>::infinity())).bits,
                sign_bit | (bits + 1))
          << bits;
    }
  }
}

TYPED_TEST(Half, RandomFloatsOfEveryExponentRoundAsTheReferenceDoes) {
  std::mt19937 generator(1);
  for (int i = 0; i < 1 << 20; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(generator()));
    const double expected = rounded(this->format, static_cast<double>(value)), actual = as_double(TypeParam(value));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(actual));
    } else {
      ASSERT_EQ(actual, expected) << value;
      ASSERT_EQ(std::signbit(actual), std::signbit(value)) << value;
    }
  }
}

TYPED_TEST(Half, EveryNaNStaysANaN) {
  // Payloads in the lowest bits alone would become an infinity if they were merely cut off.
  for (std::uint32_t payload : {1u, 0x1000u, 0x7fffffu, 0x400000u}) {
    for (std::uint32_t sign : {0u, 0x80000000u}) {
      const auto value = std::bit_cast<float>(sign | 0x7f800000u | payload);
      EXPECT_TRUE(std::isnan(as_double(TypeParam(value)))) << payload;
      EXPECT_EQ(TypeParam(value).bits >> 15, sign >> 31) << payload;
    }
  }
}

TYPED_TEST(Half, InfinitiesStayAndTooLargeValuesBecomeThem) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(as_double(TypeParam(infinity)), static_cast<double>(infinity));
  EXPECT_EQ(as_double(TypeParam(-infinity)), static_cast<double>(-infinity));
  EXPECT_EQ(as_double(TypeParam(std::numeric_limits<float>::max())), static_cast<double>(infinity));
}

TEST(DType, KnowsItsSizeNameAndKind) {
  EXPECT_EQ(size_of(DType::f32), sizeof(float));
  EXPECT_EQ(size_of(DType::f16), sizeof(f16));
  EXPECT_EQ(size_of(DType::bf16), sizeof(bf16));
  EXPECT_EQ(size_of(DType::i32), sizeof(std::int32_t));
  EXPECT_EQ(size_of(DType::u8), sizeof(std::uint8_t));
  EXPECT_EQ(name_of(DType::bf16), "bf16");
  EXPECT_TRUE(is_float(DType::f32) && is_float(DType::f16) && is_float(DType::bf16));
  EXPECT_FALSE(is_float(DType::i32) || is_float(DType::u8));
}

TEST(DispatchFloat, CallsWithTheTypeOfTheDtype) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16})
    EXPECT_EQ(dispatch_float(dtype, "test", [](auto tag) { return dtype_of<decltype(tag)>(); }), dtype);
}

TEST(DispatchFloat, NamesTheOperationThatGotAnInteger) {
  EXPECT_EQ(testing::error_message([] { dispatch_float(DType::i32, "gelu", [](auto) {}); }),
            "gelu: needs a floating-point dtype (f32, f16 or bf16), but got i32");
}

}  // namespace
}  // namespace accrue::dtype_test
