#include "kernels/matmul.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/matmul_precision.h"
#include "kernels/threads.h"
#include "tests/testing/compare.h"
#include "tests/testing/matmul_bits.h"
#include "tests/testing/reference_matmul.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::matmul_test {
namespace {

using namespace accrue::testing;

// A sum of k products in any order has an error of at most gamma(k) Σ|a||b| with gamma(k) = k u / (1 - k u) (Higham,
// Accuracy and Stability of Numerical Algorithms, section 3.1); adding a bias or an old value c rounds once more, the
// result's dtype once more.
std::vector<double> bounds_of(const MatmulProblem& p, const MatmulReference& r, const std::vector<double>& expected,
                              DType out = DType::f32) {
  const double u = unit_roundoff(DType::f32), ku = static_cast<double>(p.k + 1) * u;
  std::vector<double> bounds(expected.size());
  for (std::size_t i = 0; i < bounds.size(); ++i)
    bounds[i] = ku / (1 - ku) * r.magnitude[i] + 2 * unit_roundoff(out) * (std::abs(expected[i]) + r.magnitude[i] * ku);
  return bounds;
}

void expect_matches_reference(Device device, const MatmulProblem& p, DType in, DType out_dtype, std::uint64_t seed) {
  SCOPED_TRACE(fmt::format("m {} n {} k {} transpose {} {} {} -> {}", p.m, p.n, p.k, p.transpose_a, p.transpose_b,
                           name_of(in), name_of(out_dtype)));
  const Tensor a = random_tensor(p.a_shape(), seed, in, device), b = random_tensor(p.b_shape(), seed + 1, in, device);
  const MatmulReference r = reference_of(p, to_doubles(a), to_doubles(b));
  for (const Write write : {Write::overwrite, Write::accumulate}) {
    // An overwritten output holds NaN: none of it may survive.
    const Tensor out = write == Write::overwrite ? tensor_of(std::vector<float>(r.product.size(), std::nanf("")),
                                                             {p.m, p.n}, out_dtype, device)
                                                 : random_tensor({p.m, p.n}, seed + 2, out_dtype, device);
    std::vector<double> expected = r.product;
    if (write == Write::accumulate) {
      const std::vector<double> old = to_doubles(out);
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += old[i];
    }
    matmul({.out = out, .a = a, .b = b, .transpose_a = p.transpose_a, .transpose_b = p.transpose_b, .write = write});
    EXPECT_TRUE(within(out, expected, bounds_of(p, r, expected, out_dtype)));
  }
}

TEST(Matmul, MatchesF64ReferenceOverTheSweep) {
  for (const Device device : devices()) {
    std::uint64_t seed = 1;
    for (const std::int64_t rows : sweep_rows)
      for (const std::int64_t cols : sweep_cols)
        for (const std::int64_t depth : {0, 1, 33})
          for (const int transposes : {0, 1, 2, 3})
            expect_matches_reference(device, {rows, cols, depth, (transposes & 1) != 0, (transposes & 2) != 0},
                                     DType::f32, DType::f32, ++seed);
  }
}

TEST(Matmul, MatchesF64ReferenceAcrossTilesAndParts) {
  for (const Device device : devices()) {
    // Several tiles in each direction; rows of b 2 KiB apart (packed); sums longer than one part; rows of a transposed
    // a so wide that it is packed whatever the library does.
    for (const int transposes : {0, 1, 2, 3}) {
      const bool ta = (transposes & 1) != 0, tb = (transposes & 2) != 0;
      expect_matches_reference(device, {200, 500, 40, ta, tb}, DType::f32, DType::f32, 21);
      expect_matches_reference(device, {410, 512, 30, ta, tb}, DType::f32, DType::f32, 22);
      expect_matches_reference(device, {25, 30, 4200, ta, tb}, DType::f32, DType::f32, 23);
      expect_matches_reference(device, {7, 512, 4100, ta, tb}, DType::f32, DType::f32, 24);
      expect_matches_reference(device, {200, 500, 512, ta, tb}, DType::f32, DType::f32, 25);
      expect_matches_reference(device, {100, 500, 1536, ta, tb}, DType::f32, DType::f32, 26);
      expect_matches_reference(device, {8201, 20, 33, ta, tb}, DType::f32, DType::f32, 27);
    }
  }
}

TEST(Matmul, MatchesF64ReferenceForRandomShapes) {
  for (const Device device : devices()) {
    EXPECT_TRUE(rc::check("random shapes", [device] {
      const auto extent = [] { return *rc::gen::inRange<std::int64_t>(0, 130); };
      const MatmulProblem p{extent(), extent(), extent(), *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>()};
      expect_matches_reference(device, p, DType::f32, DType::f32, *rc::gen::inRange<std::uint64_t>(0, 1000));
      RC_ASSERT(!::testing::Test::HasFailure());
    }));
  }
}

TEST(Matmul, MultipliesHalvesIntoF32) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f16, DType::bf16})
      for (const int transposes : {0, 1, 2, 3})
        expect_matches_reference(device, {70, 33, 41, (transposes & 1) != 0, (transposes & 2) != 0}, dtype, DType::f32,
                                 31);
  }
}

TEST(Matmul, MultipliesHalvesIntoHalves) {
  for (const Device device : devices())
    for (const DType dtype : activation_dtypes(device))
      for (const int transposes : {0, 1, 2, 3})
        expect_matches_reference(device, {33, 40, 27, (transposes & 1) != 0, (transposes & 2) != 0}, dtype, dtype, 41);
}

// Each operand keeps 11 significant bits, rounded or cut, which NVIDIA leaves open: a product is off by 2 * 2^-10 at
// most, and a little of their product.
TEST(Matmul, Tf32RoundsTheOperandsAndNothingElse) {
  const ProductsIn tf32(MatmulPrecision::tf32);
  for (const Device device : devices()) {
    const MatmulProblem p{33, 40, 65};
    const Tensor a = random_tensor(p.a_shape(), 1, DType::f32, device),
                 b = random_tensor(p.b_shape(), 2, DType::f32, device),
                 out = Tensor::empty({p.m, p.n}, DType::f32, device);
    matmul({.out = out, .a = a, .b = b});
    const MatmulReference r = reference_of(p, to_doubles(a), to_doubles(b));
    std::vector<double> bounds = bounds_of(p, r, r.product);
    for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] += 2.001 * 0x1p-10 * r.magnitude[i];
    EXPECT_TRUE(within(out, r.product, bounds)) << device.to_string();
  }
}

TEST(Matmul, SeesLeadingAxesAsRows) {
  for (const Device device : devices()) {
    const Tensor a = random_tensor({2, 3, 5}, 1, DType::f32, device), b = random_tensor({4, 5}, 2, DType::f32, device),
                 out = Tensor::empty({2, 3, 4}, DType::f32, device);
    matmul({.out = out, .a = a, .b = b, .transpose_b = true});
    const Tensor flat = Tensor::empty({6, 4}, DType::f32, device);
    matmul({.out = flat, .a = a.view({6, 5}), .b = b, .transpose_b = true});
    EXPECT_EQ(out.to_vector<float>(), flat.to_vector<float>());
  }
}

TEST(Matmul, AddsBiasToEachRow) {
  for (const Device device : devices()) {
    for (const MatmulProblem& p :
         {MatmulProblem{7, 33, 31, false, true}, MatmulProblem{30, 400, 4200}, MatmulProblem{3, 4, 0}}) {
      const Tensor a = random_tensor(p.a_shape(), 1, DType::f32, device),
                   b = random_tensor(p.b_shape(), 2, DType::f32, device),
                   bias = random_tensor({p.n}, 3, DType::f32, device);
      const Tensor out = Tensor::empty({p.m, p.n}, DType::f32, device);
      matmul({.out = out, .a = a, .b = b, .transpose_b = p.transpose_b, .bias = bias});
      const MatmulReference r = reference_of(p, to_doubles(a), to_doubles(b));
      std::vector<double> expected = r.product;
      const std::vector<double> bias_values = to_doubles(bias);
      for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias_values[i % bias_values.size()];
      EXPECT_TRUE(within(out, expected, bounds_of(p, r, expected)));
    }
  }
}

TEST(Matmul, BatchedProductsAreThoseOfTheirMatrices) {
  for (const Device device : devices()) {
    for (const int transposes : {0, 1, 2, 3}) {
      const MatmulProblem p{65, 64, 33, (transposes & 1) != 0, (transposes & 2) != 0};
      const Shape as = p.a_shape(), bs = p.b_shape();
      const Tensor a = random_tensor({5, as[0], as[1]}, 1, DType::f32, device),
                   b = random_tensor({5, bs[0], bs[1]}, 2, DType::f32, device);
      const Tensor out = Tensor::empty({5, p.m, p.n}, DType::f32, device);
      matmul({.out = out, .a = a, .b = b, .transpose_a = p.transpose_a, .transpose_b = p.transpose_b});
      for (std::int64_t i = 0; i < 5; ++i) {
        const MatmulReference r =
            reference_of(p, to_doubles(a.view(as, i * as.numel())), to_doubles(b.view(bs, i * bs.numel())));
        EXPECT_TRUE(within(out.view({p.m, p.n}, i * p.m * p.n), r.product, bounds_of(p, r, r.product)));
      }
    }
    const Tensor none = Tensor::empty({0, 3, 4}, DType::f32, device);
    matmul({.out = none,
            .a = Tensor::empty({0, 3, 2}, DType::f32, device),
            .b = Tensor::empty({0, 2, 4}, DType::f32, device)});
  }
}

TEST(Matmul, AnEmptySumIsZeroOrLeavesTheOldValue) {
  for (const Device device : devices()) {
    const std::vector<float> old = {1, 2, std::nanf(""), 4, 5, 6};
    const Tensor out = tensor_of(old, {2, 3}, DType::f32, device);
    matmul({.out = out,
            .a = Tensor::empty({2, 0}, DType::f32, device),
            .b = Tensor::empty({0, 3}, DType::f32, device),
            .write = Write::accumulate});
    EXPECT_TRUE(within(out, {1, 2, std::nan(""), 4, 5, 6}, Bound{}));
    matmul(
        {.out = out, .a = Tensor::empty({2, 0}, DType::f32, device), .b = Tensor::empty({0, 3}, DType::f32, device)});
    EXPECT_EQ(out.to_vector<float>(), std::vector<float>(6, 0.0f));
  }
}

TEST(Matmul, NanAndInfinityPropagateThroughZeros) {
  for (const Device device : devices()) {
    for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const int transposes : {0, 1, 2, 3}) {
        MatmulProblem p{50, 40, 60, (transposes & 1) != 0, (transposes & 2) != 0};
        std::vector<float> b(static_cast<std::size_t>(p.k * p.n), 1.0f);
        b[static_cast<std::size_t>(p.transpose_b ? 7 * p.k + 11 : 11 * p.n + 7)] = poison;  // op(b)[11, 7]
        const Tensor out = Tensor::empty({p.m, p.n}, DType::f32, device);
        matmul({.out = out,
                .a = Tensor::zeros(p.a_shape(), DType::f32, device),
                .b = tensor_of(b, p.b_shape(), DType::f32, device),
                .transpose_a = p.transpose_a,
                .transpose_b = p.transpose_b});
        const std::vector<float> values = out.to_vector<float>();
        for (std::int64_t i = 0; i < p.m; ++i)
          for (std::int64_t j = 0; j < p.n; ++j)
            ASSERT_EQ(std::isnan(values[static_cast<std::size_t>(i * p.n + j)]), j == 7) << i << " " << j;
      }
    }
  }
}

TEST(Matmul, AccumulatingTwiceIsTwiceOnce) {
  for (const Device device : devices()) {
    const Tensor a = random_tensor({65, 40}, 1, DType::f32, device), b = random_tensor({65, 30}, 2, DType::f32, device);
    const Tensor once = Tensor::zeros({40, 30}, DType::f32, device),
                 twice = Tensor::zeros({40, 30}, DType::f32, device);
    matmul({.out = once, .a = a, .b = b, .transpose_a = true, .write = Write::accumulate});
    for (int i = 0; i < 2; ++i) matmul({.out = twice, .a = a, .b = b, .transpose_a = true, .write = Write::accumulate});
    std::vector<double> expected = to_doubles(once);
    for (double& value : expected) value *= 2;
    // The library may start its sum from the old value: then each pass differs by the rounding of a sum of k terms.
    const MatmulProblem p{40, 30, 65, true, false};
    const MatmulReference r = reference_of(p, to_doubles(a), to_doubles(b));
    std::vector<double> bounds = bounds_of(p, r, expected);
    for (double& bound : bounds) bound *= 4;
    EXPECT_TRUE(within(twice, expected, bounds));
  }
}

// Shapes with one tile, several, packed operands and several parts of the sum.
const std::vector<MatmulProblem> bit_problems = {{1, 17, 5},
                                                 {70, 65, 128, false, true},
                                                 {200, 512, 64},
                                                 {300, 400, 96},
                                                 {384, 128, 200, true},
                                                 {512, 600, 90, true},
                                                 {30, 50, 9000},
                                                 {130, 512, 4200, true},
                                                 {97, 1000, 33, false, true},
                                                 {97, 500, 1536, false, true},
                                                 {8201, 20, 1100, true}};

TEST(Matmul, BitsAreTheSameForAnyNumberOfThreads) { expect_same_bits_for_any_number_of_threads(bit_problems); }

// Contract 12: what a sample's rows become does not depend on the micro-batch that they are in. cuBLASLt chooses its
// algorithm by the number of rows and promises nothing of the kind.
TEST(Matmul, BitsOfARowDoNotDependOnTheOtherRows) {
  if (std::string_view(ACCRUE_GEMM) != "oneDNN") GTEST_SKIP() << "holds for oneDNN's kernels, not for every BLAS";
  expect_bits_of_a_row_without_the_other_rows(bit_problems);
}

TEST(Matmul, ReturnsItsWorkspace) {
  for (const Device device : devices()) {
    const Tensor a = random_tensor({300, 50}, 1, DType::f32, device),
                 b = random_tensor({300, 512}, 2, DType::f32, device),
                 out = Tensor::zeros({50, 512}, DType::f32, device);
    Allocator& allocator = Allocator::of(device);
    const std::size_t before = allocator.stats()[Category::workspace].live;
    allocator.reset_peak();
    matmul({.out = out, .a = a, .b = b, .transpose_a = true});
    EXPECT_EQ(allocator.stats()[Category::workspace].live, before);
    // What cuBLASLt wants is its own business.
    if (device == Device::cpu()) {
      EXPECT_GT(allocator.stats()[Category::workspace].peak, before);
    }
  }
}

TEST(Matmul, KeepsTheThreadCount) {
  for (const Device device : devices()) {
    const int before = thread_count();
    set_thread_count(3);
    matmul({.out = Tensor::empty({2, 2}, DType::f32, device),
            .a = random_tensor({2, 2}, 1, DType::f32, device),
            .b = random_tensor({2, 2}, 2, DType::f32, device)});
    EXPECT_EQ(thread_count(), 3);
    set_thread_count(before);
  }
}

std::string message_of(const Matmul& op) {
  return error_message([&] { matmul(op); });
}

TEST(Matmul, RefusesWrongOperandsByName) {
  const Tensor a = Tensor::zeros({2, 3}), b = Tensor::zeros({3, 4}), out = Tensor::zeros({2, 4});
  EXPECT_EQ(message_of({.a = a, .b = b}), "matmul: out must be given");
  EXPECT_EQ(message_of({.out = out, .b = b}), "matmul: a must be given");
  EXPECT_EQ(message_of({.out = out, .a = a}), "matmul: b must be given");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = Tensor::zeros({3})}),
            "matmul: b must have rank 2 or, batched, 3, but has shape [3]");
  EXPECT_EQ(message_of({.out = out, .a = Tensor::zeros({}), .b = b}),
            "matmul: a must have at least one axis, but is a scalar");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = Tensor::zeros({5, 3, 4})}),
            "matmul: a must have rank 3 like b [5, 3, 4], but has shape [2, 3]");
  EXPECT_EQ(message_of({.out = Tensor::zeros({6, 2, 4}), .a = Tensor::zeros({5, 2, 3}), .b = Tensor::zeros({5, 3, 4})}),
            "matmul: out must have the batch 5 of b, but has shape [6, 2, 4]");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = b, .transpose_b = true}),
            "matmul: op(a) [2, 3] must have as many columns as op(b) [4, 3] has rows");
  EXPECT_EQ(message_of({.out = Tensor::zeros({4, 2}), .a = a, .b = b}),
            "matmul: out must be [2, 4] for op(a) [2, 3] and op(b) [3, 4], but is [4, 2]");
  EXPECT_EQ(message_of({.out = out, .a = Tensor::zeros({2, 3}, DType::i32), .b = b}),
            "matmul: a must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = Tensor::zeros({3, 4}, DType::bf16)}),
            "matmul: b must be f32, but is bf16");
  EXPECT_EQ(message_of({.out = Tensor::zeros({2, 4}, DType::f16), .a = a, .b = b}),
            "matmul: out must be f32 like a, or f32, but is f16");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = b, .bias = Tensor::zeros({3})}),
            "matmul: bias must have shape [4] to match the last axis of out [2, 4], but has [3]");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = b, .bias = Tensor::zeros({4}, DType::bf16)}),
            "matmul: bias must be f32, but is bf16");
  EXPECT_EQ(message_of({.out = out, .a = a, .b = b, .write = Write::accumulate, .bias = Tensor::zeros({4})}),
            "matmul: bias must not be given when out accumulates: it would be added each time");
  EXPECT_EQ(message_of({.out = Tensor::zeros({2, 4}, DType::bf16),
                        .a = Tensor::zeros({2, 3}, DType::bf16),
                        .b = Tensor::zeros({3, 4}, DType::bf16)}),
            "matmul: the CPU backend writes f32, but out is bf16");
  const Tensor square = Tensor::zeros({3, 3});
  EXPECT_EQ(message_of({.out = square, .a = square, .b = Tensor::zeros({3, 3})}),
            "matmul: out must not share memory with a, but does");
}

}  // namespace
}  // namespace accrue::kernels::matmul_test
