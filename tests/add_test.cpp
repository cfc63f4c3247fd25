#include "kernels/add.h"

#include <gtest/gtest.h>

#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::add_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::to_doubles;

// One rounding of an exact sum. In a half dtype, where the sum was rounded to f32 before, a second one.
testing::Bound rounding_bound(DType dtype) {
  const double roundoff = testing::unit_roundoff(dtype);
  return {.relative = dtype == DType::f32 ? roundoff : roundoff * (1 + 0x1p-10)};
}
const testing::Bound one_rounding = rounding_bound(DType::f32);

std::vector<double> sum(const Tensor& a, const Tensor& b) {
  std::vector<double> total = to_doubles(a);
  const std::vector<double> other = to_doubles(b);
  for (std::size_t i = 0; i < total.size(); ++i) total[i] += other[i];
  return total;
}

TEST(Add, SumsElementByElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t rows : testing::sweep_rows)
        for (const std::int64_t cols : testing::sweep_cols) {
          SCOPED_TRACE(fmt::format("{} x {} {} on {}", rows, cols, name_of(dtype), device.to_string()));
          const Tensor a = random_tensor({rows, cols}, 1, dtype, device);
          const Tensor b = random_tensor({rows, cols}, 2, dtype, device);
          const Tensor out = empty_like(a);
          add({.out = out, .a = a, .b = b});
          EXPECT_TRUE(testing::within(out, sum(a, b), rounding_bound(dtype)));
        }
}

TEST(Add, OutMayBeEitherOperand) {
  for (const Device device : testing::devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor a = random_tensor({7, 33}, 1, DType::f32, device), b = random_tensor({7, 33}, 2, DType::f32, device);
    const std::vector<double> expected = sum(a, b);
    const Tensor first = a.clone(), second = b.clone();
    add({.out = first, .a = first, .b = b});
    EXPECT_TRUE(testing::within(first, expected, one_rounding));
    add({.out = second, .a = a, .b = second});
    EXPECT_TRUE(testing::within(second, expected, one_rounding));
    const Tensor twice = a.clone();
    add({.out = twice, .a = twice, .b = twice});
    EXPECT_TRUE(testing::within(twice, sum(a, a), testing::Bound{}));
  }
}

// A view need not begin where a 16-byte access may.
TEST(Add, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      const Tensor buffer = random_tensor({300}, 1, dtype, device), out = Tensor::zeros({102}, dtype, device);
      const Tensor a = buffer.view({97}, 1), b = buffer.view({97}, 150);
      add({.out = out.view({97}, 3), .a = a, .b = b});
      EXPECT_TRUE(testing::within(out.view({97}, 3), sum(a, b), rounding_bound(dtype)));
      EXPECT_EQ(to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
      EXPECT_EQ(to_doubles(out.view({2}, 100)), (std::vector<double>{0, 0}));
    }
}

TEST(Add, HasTheSameBitsForAnyNumberOfThreads) {
  const Tensor a = random_tensor({129, 1000}, 1), b = random_tensor({129, 1000}, 2);
  testing::expect_same_bits_for_any_thread_count([&] {
    const Tensor out = empty_like(a);
    add({.out = out, .a = a, .b = b});
    return std::vector{out};
  });
}

TEST(Add, NamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({3, 2}), half = Tensor::zeros({2, 3}, DType::bf16);
  EXPECT_EQ(error_message([&] { add({.out = x, .a = x}); }), "add: b must be given");
  EXPECT_EQ(error_message([&] { add({.out = x, .a = x, .b = other}); }),
            "add: b must have shape [2, 3] like a, but has [3, 2]");
  EXPECT_EQ(error_message([&] { add({.out = other, .a = x, .b = x}); }),
            "add: out must have shape [2, 3] like a, but has [3, 2]");
  EXPECT_EQ(error_message([&] { add({.out = x, .a = x, .b = half}); }), "add: b must be f32, but is bf16");
  EXPECT_EQ(error_message([&] { add({.out = half, .a = x, .b = x}); }), "add: out must be f32, but is bf16");
  EXPECT_EQ(error_message([&] { add({.out = half, .a = half, .b = half}); }),
            "add: the CPU backend computes in f32, but a is bf16");
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32);
  EXPECT_EQ(error_message([&] { add({.out = ids, .a = ids, .b = ids}); }),
            "add: a must be f32, f16 or bf16, but is i32");
  const Tensor flat = Tensor::zeros({10});
  EXPECT_EQ(error_message([&] { add({.out = flat.view({6}, 1), .a = flat.view({6}), .b = Tensor::zeros({6})}); }),
            "add: out and a must be the same bytes or disjoint, but overlap partly");
}

}  // namespace
}  // namespace accrue::kernels::add_test
