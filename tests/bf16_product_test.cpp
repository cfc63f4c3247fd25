// Products of f32 operands that are rounded to bf16 (kernels/matmul_precision.h), on the CPU.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "kernels/cast.h"
#include "kernels/cpu/bf16_panels.h"
#include "kernels/cpu/bf16_product.h"
#include "kernels/matmul.h"
#include "kernels/matmul_precision.h"
#include "tests/testing/compare.h"
#include "tests/testing/matmul_bits.h"
#include "tests/testing/reference_matmul.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::bf16_product_test {
namespace {

using namespace accrue::testing;

class Bf16Product : public ::testing::Test {
 protected:
  ProductsIn bf16{MatmulPrecision::bf16};
};

std::vector<double> rounded(const Tensor& x) { return to_doubles(as_dtype(x, DType::bf16)); }

// Products of 8 significant bits are exact in f32, so that only the sums of f32 round, in whatever order: gamma(k)
// Σ|a||b| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and once more for what is added.
std::vector<double> bounds_of(const MatmulProblem& p, const MatmulReference& r, const std::vector<double>& expected) {
  const double u = unit_roundoff(DType::f32), ku = static_cast<double>(p.k + 1) * u;
  std::vector<double> bounds(expected.size());
  for (std::size_t i = 0; i < bounds.size(); ++i)
    bounds[i] = ku / (1 - ku) * r.magnitude[i] + 2 * u * (std::abs(expected[i]) + r.magnitude[i] * ku);
  return bounds;
}

MatmulProblem problem(std::int64_t m, std::int64_t n, std::int64_t k, int transposes) {
  return {m, n, k, (transposes & 1) != 0, (transposes & 2) != 0};
}

enum class Adds { nothing, bias, old_values };

void expect_rounds_the_operands_and_nothing_else(const MatmulProblem& p, Adds adds, std::uint64_t seed) {
  SCOPED_TRACE(fmt::format("m {} n {} k {} transpose {} {} adds {}", p.m, p.n, p.k, p.transpose_a, p.transpose_b,
                           static_cast<int>(adds)));
  const Tensor a = random_tensor(p.a_shape(), seed), b = random_tensor(p.b_shape(), seed + 1);
  const MatmulReference r = reference_of(p, rounded(a), rounded(b));
  std::vector<double> expected = r.product;
  Matmul op{.a = a, .b = b, .transpose_a = p.transpose_a, .transpose_b = p.transpose_b};
  if (adds == Adds::old_values) {
    op.out = random_tensor({p.m, p.n}, seed + 2);
    op.write = Write::accumulate;
    const std::vector<double> old = to_doubles(op.out);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += old[i];
  } else {  // none of the NaN may survive
    op.out = tensor_of(std::vector<float>(expected.size(), std::nanf("")), {p.m, p.n});
  }
  if (adds == Adds::bias) {
    op.bias = random_tensor({p.n}, seed + 3);
    const std::vector<double> bias = to_doubles(op.bias);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % bias.size()];
  }
  matmul(op);
  EXPECT_TRUE(within(op.out, expected, bounds_of(p, r, expected)));
}

TEST_F(Bf16Product, RoundsTheOperandsAndNothingElseOverTheSweep) {
  std::uint64_t seed = 1;
  for (const std::int64_t rows : sweep_rows)
    for (const std::int64_t cols : sweep_cols)
      for (const std::int64_t depth : {0, 1, 2, 33})
        for (const int transposes : {0, 1, 2, 3})
          for (const Adds adds : {Adds::nothing, Adds::bias, Adds::old_values})
            expect_rounds_the_operands_and_nothing_else(problem(rows, cols, depth, transposes), adds, ++seed);
}

TEST_F(Bf16Product, RoundsTheOperandsAndNothingElseAcrossGroupsStripsAndParts) {
  for (const int transposes : {0, 1, 2, 3})
    for (const Adds adds : {Adds::nothing, Adds::bias, Adds::old_values}) {
      // Several groups of rows, and of those that are packed at a time; two strips, three parts, two of each.
      expect_rounds_the_operands_and_nothing_else(problem(61, 70, 31, transposes), adds, 11);
      expect_rounds_the_operands_and_nothing_else(problem(13, 1570, 20, transposes), adds, 12);
      expect_rounds_the_operands_and_nothing_else(problem(50, 33, 2051, transposes), adds, 13);
      expect_rounds_the_operands_and_nothing_else(problem(5, 420, 2047, transposes), adds, 14);
    }
}

TEST_F(Bf16Product, RoundsTheOperandsAndNothingElseForRandomShapes) {
  EXPECT_TRUE(rc::check("random shapes", [] {
    const auto extent = [] { return *rc::gen::inRange<std::int64_t>(0, 130); };
    const MatmulProblem p{extent(), extent(), extent(), *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>()};
    expect_rounds_the_operands_and_nothing_else(p, *rc::gen::element(Adds::nothing, Adds::bias, Adds::old_values),
                                                *rc::gen::inRange<std::uint64_t>(0, 1000));
    RC_ASSERT(!::testing::Test::HasFailure());
  }));
}

TEST_F(Bf16Product, BatchedProductsAreThoseOfTheirMatrices) {
  for (const std::int64_t n : {64, 1570})  // one strip, two
    for (const int transposes : {0, 1, 2, 3}) {
      const MatmulProblem p = problem(29, n, 33, transposes);
      const Shape as = p.a_shape(), bs = p.b_shape();
      const Tensor a = random_tensor({5, as[0], as[1]}, 1), b = random_tensor({5, bs[0], bs[1]}, 2);
      const Tensor out = Tensor::empty({5, p.m, p.n});
      matmul({.out = out, .a = a, .b = b, .transpose_a = p.transpose_a, .transpose_b = p.transpose_b});
      for (std::int64_t i = 0; i < 5; ++i) {
        const MatmulReference r =
            reference_of(p, rounded(a.view(as, i * as.numel())), rounded(b.view(bs, i * bs.numel())));
        EXPECT_TRUE(within(out.view({p.m, p.n}, i * p.m * p.n), r.product, bounds_of(p, r, r.product)));
      }
    }
}

TEST_F(Bf16Product, OperandsThatAreHalvesAlreadyAreMultipliedAsWithoutIt) {
  const Tensor a = random_tensor({33, 65}, 1, DType::f16), b = random_tensor({65, 40}, 2, DType::f16);
  const Tensor out = Tensor::empty({33, 40}, DType::f32), exact = Tensor::empty({33, 40}, DType::f32);
  matmul({.out = out, .a = a, .b = b});
  const ProductsIn f32(MatmulPrecision::f32);
  matmul({.out = exact, .a = a, .b = b});
  EXPECT_EQ(out.to_vector<float>(), exact.to_vector<float>());
}

// What fills up odd lengths and narrow panels must not meet them.
TEST_F(Bf16Product, WhatIsNotFiniteStaysInItsRowAndColumn) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const int transposes : {0, 1, 2, 3}) {
    const MatmulProblem p = problem(14, 37, 5, transposes);
    std::vector<float> a(static_cast<std::size_t>(p.m * p.k), 1.0f), b(static_cast<std::size_t>(p.k * p.n), 1.0f);
    a[static_cast<std::size_t>(p.transpose_a ? 4 * p.m + 13 : 13 * p.k + 4)] = infinity;  // the last row's last term
    b[static_cast<std::size_t>(p.transpose_b ? 36 * p.k + 4 : 4 * p.n + 36)] = std::nanf("");
    const Tensor out = Tensor::empty({p.m, p.n});
    matmul({.out = out,
            .a = tensor_of(a, p.a_shape()),
            .b = tensor_of(b, p.b_shape()),
            .transpose_a = p.transpose_a,
            .transpose_b = p.transpose_b});
    const std::vector<float> values = out.to_vector<float>();
    for (std::int64_t r = 0; r < p.m; ++r)
      for (std::int64_t c = 0; c < p.n; ++c) {
        const float value = values[static_cast<std::size_t>(r * p.n + c)];
        if (c == 36)
          EXPECT_TRUE(std::isnan(value)) << r << " " << c;
        else
          EXPECT_EQ(value, r == 13 ? infinity : 5.0f) << r << " " << c;
      }
  }
}

TEST_F(Bf16Product, FiniteNumbersThatRoundBeyondBf16AreInfinite) {
  const float most = std::numeric_limits<float>::max(), largest_bf16 = 0x1.fep127f;
  const Tensor out = Tensor::empty({2, 1});
  matmul({.out = out, .a = tensor_of({most, largest_bf16}, {2, 1}), .b = tensor_of({1.0f}, {1, 1})});
  EXPECT_EQ(out.to_vector<float>(), (std::vector<float>{std::numeric_limits<float>::infinity(), largest_bf16}));
}

// What kernels/matmul_precision.h says of the instructions. In f32 they are numbers, as everywhere else.
TEST_F(Bf16Product, SubnormalNumbersAreZerosToTheInstructions) {
  const float subnormal = 0x1p-130f, large = 0x1p120f, small = 0x1p-70f;
  const Tensor out = Tensor::empty({2, 2});
  matmul({.out = out, .a = tensor_of({subnormal, small}, {2, 1}), .b = tensor_of({large, small}, {1, 2})});
  const std::vector<float> exact = {0x1p-10f, 0.0f, 0x1p50f, 0x1p-140f}, flushed = {0.0f, 0.0f, 0x1p50f, 0.0f};
  EXPECT_EQ(out.to_vector<float>(), cpu::has_bf16_products() ? flushed : exact);
}

// Shapes of several groups, strips and parts.
const std::vector<MatmulProblem> bit_problems = {
    {1, 17, 5},     {70, 65, 128, false, true},  {200, 1600, 64}, {131, 400, 1100, true}, {97, 1000, 33, false, true},
    {50, 33, 2051}, {40, 420, 2048, false, true}};

TEST_F(Bf16Product, BitsAreTheSameForAnyNumberOfThreads) { expect_same_bits_for_any_number_of_threads(bit_problems); }

// Contract 12, as Matmul.BitsOfARowDoNotDependOnTheOtherRows.
TEST_F(Bf16Product, BitsOfARowDoNotDependOnTheOtherRows) {
  if (!cpu::has_bf16_products() && std::string_view(ACCRUE_GEMM) != "oneDNN")
    GTEST_SKIP() << "holds for Accrue's and oneDNN's kernels, not for every BLAS";
  expect_bits_of_a_row_without_the_other_rows(bit_problems);
}

// Nor on the other columns: a product with some of b's alone.
TEST_F(Bf16Product, BitsOfAColumnDoNotDependOnTheOthers) {
  if (!cpu::has_bf16_products()) GTEST_SKIP() << "holds for Accrue's kernels";
  constexpr std::int64_t m = 30, n = 1600, k = 1100, first = 7, some = 133;
  const Tensor a = random_tensor({m, k}, 1), b = random_tensor({n, k}, 2);
  const Tensor whole = Tensor::empty({m, n}), part = Tensor::empty({m, some});
  matmul({.out = whole, .a = a, .b = b, .transpose_b = true});
  matmul({.out = part, .a = a, .b = b.view({some, k}, first * k), .transpose_b = true});
  const std::vector<float> all = whole.to_vector<float>(), columns = part.to_vector<float>();
  for (std::int64_t r = 0; r < m; ++r)
    for (std::int64_t c = 0; c < some; ++c)
      ASSERT_EQ(columns[static_cast<std::size_t>(r * some + c)], all[static_cast<std::size_t>(r * n + first + c)])
          << r << " " << c;
}

// ---- what is packed ----

namespace panels = cpu::bf16_panels;

class Bf16Panels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cpu::has_bf16_products()) GTEST_SKIP() << "this CPU, or the instruction set of this run, has no bf16 products";
  }

  static constexpr panels::Pair untouched = 0xdeadbeef;
  static std::uint16_t bits_of(float value) { return std::bit_cast<std::uint16_t>(bf16(value)); }
  static panels::Pair pair(float first, float second) {
    return bits_of(first) | static_cast<panels::Pair>(bits_of(second)) << 16;
  }

  // A matrix [rows, cols] of values that tell where they stand, with `gap` more between its rows.
  struct Matrix {
    Matrix(std::int64_t rows, std::int64_t cols, std::int64_t gap = 3)
        : values(static_cast<std::size_t>(rows * (cols + gap)), std::nanf("")) {
      source = {.data = values.data(), .stride = cols + gap, .rows = rows, .cols = cols};
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < cols; ++c) values[static_cast<std::size_t>(r * source.stride + c)] = at(r, c);
    }
    float at(std::int64_t r, std::int64_t c) const {
      return r < source.rows && c < source.cols ? static_cast<float>(r) + 0.013f * static_cast<float>(c + 1) : 0.0f;
    }
    std::vector<float> values;
    panels::Source source;
  };
};

TEST_F(Bf16Panels, HoldPairsOfRows) {
  for (const std::int64_t length : {1, 2, 3, 31, 32, 65})
    for (const std::int64_t cols : {1, 15, 16, 17, 31, 32}) {
      const Matrix plain(length, cols), transposed(cols, length);
      const std::int64_t pairs = panels::pairs_of(length);
      std::vector<panels::Pair> panel(static_cast<std::size_t>(pairs * panels::panel_cols + 1), untouched),
          other = panel;
      panels::pack_panel(plain.source, panel.data());
      panels::pack_transposed_panel(transposed.source, other.data());
      EXPECT_EQ(panel.back(), untouched);
      EXPECT_EQ(other.back(), untouched);
      for (std::int64_t l = 0; l < pairs; ++l)
        for (std::int64_t c = 0; c < panels::panel_cols; ++c) {
          const auto i = static_cast<std::size_t>(l * panels::panel_cols + c);
          ASSERT_EQ(panel[i], pair(plain.at(2 * l, c), plain.at(2 * l + 1, c))) << length << " " << cols << " " << c;
          ASSERT_EQ(other[i], pair(transposed.at(c, 2 * l), transposed.at(c, 2 * l + 1)))
              << length << " " << cols << " " << c;
        }
    }
}

TEST_F(Bf16Panels, RowsAreWrittenNoFurtherThanIsSaid) {
  for (const std::int64_t length : {1, 2, 31, 32, 33, 64})
    for (const std::int64_t rows : {1, 5, 12}) {
      const Matrix a(rows, length);
      const std::int64_t pairs = panels::pairs_of(length), stride = pairs + 16;
      std::vector<panels::Pair> packed(static_cast<std::size_t>(rows * stride + 1), untouched);
      panels::pack_rows(a.source, packed.data(), stride);
      EXPECT_EQ(packed.back(), untouched);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t l = 0; l < pairs; ++l)
          ASSERT_EQ(packed[static_cast<std::size_t>(r * stride + l)], pair(a.at(r, 2 * l), a.at(r, 2 * l + 1)));
    }
}

TEST_F(Bf16Panels, GroupsAreWrittenNoFurtherThanIsSaid) {
  for (const std::int64_t length : {1, 2, 33})
    for (const std::int64_t rows : {1, 11, 12, 13, 30, 48}) {
      const Matrix a(length, rows);
      const std::int64_t pairs = panels::pairs_of(length), stride = pairs * panels::group_rows + 4;
      const std::int64_t groups = (rows + panels::group_rows - 1) / panels::group_rows;
      std::vector<panels::Pair> packed(static_cast<std::size_t>(groups * stride + 1), untouched);
      panels::pack_transposed_groups(a.source, packed.data(), stride);
      EXPECT_EQ(packed.back(), untouched);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t l = 0; l < pairs; ++l) {
          const std::int64_t at = r / panels::group_rows * stride + l * panels::group_rows + r % panels::group_rows;
          ASSERT_EQ(packed[static_cast<std::size_t>(at)], pair(a.at(2 * l, r), a.at(2 * l + 1, r)));
        }
    }
}

TEST_F(Bf16Panels, BlocksWriteTheirElementsAlone) {
  constexpr std::int64_t pairs = 3, out_row = 40;
  const std::vector<panels::Pair> a(panels::group_rows * pairs, pair(1, 2)),
      panel(pairs * panels::panel_cols, pair(3, 4));
  for (std::int64_t rows = 1; rows <= panels::group_rows; ++rows)
    for (const std::int64_t cols : {1, 16, 17, 32}) {
      std::vector<float> out(static_cast<std::size_t>(rows * out_row), 7.0f);
      panels::multiply({.out = out.data(),
                        .out_row = out_row,
                        .rows = rows,
                        .cols = cols,
                        .a = a.data(),
                        .a_row = pairs,
                        .a_step = 1,
                        .panel = panel.data(),
                        .pairs = pairs,
                        .added = out.data(),
                        .added_row = out_row});
      for (std::int64_t i = 0; i < rows * out_row; ++i)
        ASSERT_EQ(out[static_cast<std::size_t>(i)], i % out_row < cols ? 7.0f + 3 * (3 + 8) : 7.0f);
    }
}

}  // namespace
}  // namespace accrue::kernels::bf16_product_test
