#include "kernels/dropout.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::dropout_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::tensor_of;
using testing::to_doubles;

constexpr double u = 0x1p-24;
const float nan = std::numeric_limits<float>::quiet_NaN();
constexpr RandomKey key{.seed = 0x0123456789abcdefull, .window = 5, .first_sample = 3};
constexpr std::uint32_t site = 11;

// The mask as the header defines it, one scalar Philox per element.
bool kept(const RandomKey& k, float p, std::int64_t sample, std::int64_t element) {
  const Philox4 words =
      sample_random(k, site, static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(element / 4));
  return uniform(words[static_cast<std::size_t>(element % 4)]) >= p;
}

std::vector<double> reference(const Tensor& x, float p, const RandomKey& k) {
  std::vector<double> values = to_doubles(x);
  const std::int64_t size = x.numel() == 0 ? 1 : x.numel() / x.shape()[0];
  for (std::int64_t i = 0; i < x.numel(); ++i)
    values[static_cast<std::size_t>(i)] *= kept(k, p, i / size, i % size) ? 1 / (1 - static_cast<double>(p)) : 0;
  return values;
}

Tensor apply(const Tensor& x, float p, const RandomKey& k = key) {
  const Tensor out =
      tensor_of(std::vector<float>(static_cast<std::size_t>(x.numel()), nan), x.shape(), x.dtype(), x.device());
  dropout({.out = {out, Write::overwrite}, .x = x, .p = p, .key = k, .site = site});
  return out;
}

// 1 - p, its reciprocal and the product round once each, before the result is rounded to its dtype.
std::vector<double> bounds_of(const std::vector<double>& expected, DType dtype) {
  std::vector<double> bounds;
  for (const double value : expected) bounds.push_back(3.01 * u * std::abs(value));
  return testing::rounded_once(bounds, expected, dtype);
}

::testing::AssertionResult matches_the_definition(const Tensor& x, float p, const RandomKey& k) {
  const std::vector<double> expected = reference(x, p, k);
  return testing::within(apply(x, p, k), expected, bounds_of(expected, x.dtype()));
}

TEST(Dropout, MatchesTheScalarDefinition) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t rows : testing::sweep_rows)
        for (const std::int64_t cols : testing::sweep_cols)
          for (const float p : {0.0f, 0.1f, 0.5f, 0.999f}) {
            SCOPED_TRACE(fmt::format("{} x {} {} on {}, p = {}", rows, cols, name_of(dtype), device.to_string(), p));
            EXPECT_TRUE(matches_the_definition(random_tensor({rows, cols}, 1, dtype, device), p, key));
          }
}

// A view need not begin where a 16-byte access may.
TEST(Dropout, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const Tensor buffer = random_tensor({300}, 1, dtype, device), out = Tensor::zeros({205}, dtype, device);
      const Tensor x = buffer.view({5, 40}, 1);
      dropout({.out = {out.view({5, 40}, 3), Write::overwrite}, .x = x, .p = 0.3f, .key = key, .site = site});
      EXPECT_EQ(to_doubles(out.view({5, 40}, 3)), to_doubles(apply(x.clone(), 0.3f)));
      EXPECT_EQ(to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
      EXPECT_EQ(to_doubles(out.view({2}, 203)), (std::vector<double>{0, 0}));
    }
}

// The mask is the same, and so is every rounding: recomputation, or a resumed run, may move to another device.
TEST(Dropout, EveryDeviceGivesTheBitsOfTheCpu) {
  for (const Device device : testing::devices())
    for (const Shape& shape : {Shape{3, 1000}, Shape{700, 5}, Shape{2, 3, 67}}) {
      SCOPED_TRACE(fmt::format("{} on {}", shape, device.to_string()));
      EXPECT_EQ(apply(random_tensor(shape, 1, DType::f32, device), 0.1f).to_vector<float>(),
                apply(random_tensor(shape, 1), 0.1f).to_vector<float>());
    }
}

TEST(Dropout, MatchesTheScalarDefinitionForRandomShapes) {
  for (const Device device : testing::devices()) {
    const bool ok = rc::check("dropout", [device] {
      const auto samples = *rc::gen::inRange<std::int64_t>(0, 5);
      const auto rows = *rc::gen::inRange<std::int64_t>(1, 40);
      const auto cols = *rc::gen::inRange<std::int64_t>(1, 300);
      const auto p = static_cast<float>(*rc::gen::inRange(0, 100)) / 100;
      const RandomKey k{.seed = *rc::gen::arbitrary<std::uint64_t>(),
                        .window = *rc::gen::arbitrary<std::uint32_t>(),
                        .first_sample = *rc::gen::arbitrary<std::uint32_t>()};
      const DType dtype = *rc::gen::elementOf(testing::activation_dtypes(device));
      const Tensor x = random_tensor({samples, rows, cols}, 1, dtype, device);
      RC_ASSERT(bool(matches_the_definition(x, p, k)));
    });
    EXPECT_TRUE(ok);
  }
}

TEST(Dropout, ASampleHasTheSameMaskHoweverTheWindowIsSplit) {
  for (const Device device : testing::devices()) {
    constexpr std::int64_t samples = 6, rows = 33, cols = 31;
    const Tensor x = random_tensor({samples, rows, cols}, 1, DType::f32, device);
    const std::vector<float> whole = apply(x, 0.3f).to_vector<float>();
    for (const std::int64_t micro_batch : {1, 2, 3, 4}) {
      std::vector<float> joined;
      for (std::int64_t first = 0; first < samples; first += micro_batch) {
        const std::int64_t count = std::min(micro_batch, samples - first);
        RandomKey k = key;
        k.first_sample += static_cast<std::uint32_t>(first);
        const Tensor part = x.view({count, rows, cols}, first * rows * cols);
        for (const float value : apply(part, 0.3f, k).to_vector<float>()) joined.push_back(value);
      }
      EXPECT_EQ(joined, whole) << "micro-batches of " << micro_batch;
    }
  }
}

TEST(Dropout, TheMaskDependsOnEveryPartOfTheKey) {
  for (const Device device : testing::devices()) {
    const Tensor x = tensor_of(std::vector<float>(1000, 1), {1, 1000}, DType::f32, device);
    const std::vector<float> base = apply(x, 0.5f).to_vector<float>();
    RandomKey seed = key, window = key, sample = key;
    seed.seed ^= std::uint64_t{1} << 40, window.window += 1, sample.first_sample += 1;
    for (const RandomKey& k : {seed, window, sample}) EXPECT_NE(apply(x, 0.5f, k).to_vector<float>(), base);
    const Tensor other_site = empty_like(x);
    dropout({.out = {other_site, Write::overwrite}, .x = x, .p = 0.5f, .key = key, .site = site + 1});
    EXPECT_NE(other_site.to_vector<float>(), base);
  }
}

TEST(Dropout, KeepsTheExpectedFractionIndependentlyOfTheNeighbours) {
  for (const Device device : testing::devices()) {
    constexpr std::int64_t n = 1 << 20;
    const Tensor x = tensor_of(std::vector<float>(n, 1), {1, n}, DType::f32, device);
    for (const float p : {0.1f, 0.5f, 0.9f}) {
      const std::vector<float> y = apply(x, p).to_vector<float>();
      double kept_count = 0;
      for (const float value : y) kept_count += value != 0;
      const double q = 1 - static_cast<double>(p);
      // Five standard deviations of a binomial: the key is fixed, so this passes or fails once and for all.
      EXPECT_NEAR(kept_count, n * q, 5 * std::sqrt(n * q * (1 - q)));
      for (const std::size_t distance : {1u, 2u, 4u, 8u, 1024u}) {
        double both = 0;
        for (std::size_t i = 0; i + distance < y.size(); ++i) both += y[i] != 0 && y[i + distance] != 0;
        const double pairs = n - static_cast<double>(distance), expected = pairs * q * q;
        // A pair shares each element with another pair, so the variance is at most three times that of independent
        // pairs.
        EXPECT_NEAR(both, expected, 5 * std::sqrt(3 * pairs * q * q)) << "distance " << distance;
      }
    }
  }
}

TEST(Dropout, BackwardIsTheSameFunction) {
  for (const Device device : testing::devices()) {
    constexpr float p = 0.25f;
    const Tensor x = random_tensor({2, 33}, 1, DType::f32, device), dy = random_tensor({2, 33}, 2, DType::f32, device);
    const std::vector<double> weights = to_doubles(dy);
    const auto loss = [&](const std::vector<double>& xs) {
      double total = 0;
      for (std::size_t i = 0; i < xs.size(); ++i)
        if (kept(key, p, static_cast<std::int64_t>(i) / 33, static_cast<std::int64_t>(i) % 33))
          total += weights[i] * xs[i] / (1 - static_cast<double>(p));
      return total;
    };
    // |dy| < 5, and the differences of a linear function are good to 1e-9.
    EXPECT_TRUE(testing::within(apply(dy, p), testing::numeric_gradient(loss, to_doubles(x)),
                                testing::Bound{.relative = 3.01 * u, .absolute = 1e-9}));
  }
}

TEST(Dropout, AccumulatesOnceAndWorksInPlace) {
  for (const Device device : testing::devices()) {
    const Tensor x = random_tensor({3, 101}, 1, DType::f32, device), expected = apply(x, 0.4f), out = apply(x, 0.4f);
    dropout({.out = {out, Write::accumulate}, .x = x, .p = 0.4f, .key = key, .site = site});
    std::vector<double> twice = to_doubles(expected);
    for (double& value : twice) value *= 2;
    EXPECT_TRUE(testing::within(out, twice, testing::Bound{}));
    const Tensor in_place = x.clone();
    dropout({.out = {in_place, Write::overwrite}, .x = in_place, .p = 0.4f, .key = key, .site = site});
    EXPECT_EQ(in_place.to_vector<float>(), expected.to_vector<float>());
  }
}

TEST(Dropout, AccumulatesOntoWhatIsThere) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const Tensor x = random_tensor({3, 101}, 1, dtype, device), out = random_tensor({3, 101}, 2, dtype, device);
      std::vector<double> expected = to_doubles(out), bounds;
      const std::vector<double> added = reference(x, 0.4f, key);
      for (std::size_t i = 0; i < added.size(); ++i) {
        expected[i] += added[i];
        bounds.push_back(3.01 * u * std::abs(added[i]) + 1.01 * u * std::abs(expected[i]));
      }
      dropout({.out = {out, Write::accumulate}, .x = x, .p = 0.4f, .key = key, .site = site});
      EXPECT_TRUE(testing::within(out, expected, testing::rounded_once(bounds, expected, dtype)));
    }
}

TEST(Dropout, ADroppedElementIsZeroEvenOfNan) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      const Tensor x = tensor_of(std::vector<float>(100, nan), {1, 100}, dtype, device);
      const std::vector<double> y = to_doubles(apply(x, 0.5f));
      for (std::int64_t i = 0; i < 100; ++i) {
        if (kept(key, 0.5f, 0, i)) {
          EXPECT_TRUE(std::isnan(y[static_cast<std::size_t>(i)]));
        } else {
          EXPECT_EQ(y[static_cast<std::size_t>(i)], 0);
        }
      }
    }
}

TEST(Dropout, HasTheSameBitsForAnyNumberOfThreads) {
  for (const Device device : testing::devices()) {
    for (const Shape& shape : {Shape{1, 100001}, Shape{5, 7, 1001}, Shape{3000, 17}}) {
      const Tensor x = random_tensor(shape, 1, DType::f32, device);
      testing::expect_same_bits_for_any_thread_count([&] { return std::vector{apply(x, 0.1f)}; });
    }
  }
}

TEST(Dropout, NamesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({6}), half = Tensor::zeros({2, 3}, DType::f16);
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), scalar = Tensor::zeros({}), flat = Tensor::zeros({10});
  const Tensor left = flat.view({6}), right = flat.view({6}, 2);
  const auto message = [](const Tensor& out, const Tensor& in, float p = 0.5f) {
    return error_message([&] {
      const GradSlot slot{out, Write::overwrite};
      dropout({.out = slot, .x = in, .p = p});
    });
  };
  EXPECT_EQ(message({}, x), "dropout: out must be given");
  EXPECT_EQ(message(x, {}), "dropout: x must be given");
  EXPECT_EQ(message(other, x), "dropout: out must have shape [2, 3] like x, but has [6]");
  EXPECT_EQ(message(half, x), "dropout: out must be f32, but is f16");
  EXPECT_EQ(message(ids, ids), "dropout: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message(half, half), "dropout: the CPU backend computes in f32, but x is f16");
  EXPECT_EQ(message(scalar, scalar), "dropout: x must have at least 1 axis, that of the samples, but has shape []");
  EXPECT_EQ(message(left, right), "dropout: out and x must be the same bytes or disjoint, but overlap partly");
  EXPECT_EQ(message(x, x, 1), "dropout: p must be in [0, 1), but is 1");
  EXPECT_EQ(message(x, x, -0.5f), "dropout: p must be in [0, 1), but is -0.5");
  EXPECT_EQ(message(x, x, nan), "dropout: p must be in [0, 1), but is nan");
}

}  // namespace
}  // namespace accrue::kernels::dropout_test
