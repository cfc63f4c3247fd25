#include "kernels/grad_accumulate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/threads.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::grad_accumulate_test {
namespace {

using namespace accrue::testing;

struct DTypes {
  DType acc, incoming;
};

void expect_like_the_reference(const Shape& shape, const DTypes& dtypes, Write write, std::uint64_t seed,
                               Device device) {
  const double u = unit_roundoff(DType::f32);
  const Tensor incoming = random_tensor(shape, 2 * seed, dtypes.incoming, device);
  const bool add = write == Write::accumulate;
  // An overwritten destination holds NaN: none of it may survive.
  const std::vector<float> nan(static_cast<std::size_t>(shape.numel()), std::nanf(""));
  const Tensor acc =
      add ? random_tensor(shape, 2 * seed + 1, dtypes.acc, device) : tensor_of(nan, shape, dtypes.acc, device);
  std::vector<double> expected = to_doubles(incoming), old = to_doubles(acc), bounds;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double product = -1.7f * expected[i];
    expected[i] = product + (add ? old[i] : 0);
    // One rounding of the product (none with FMA) and one of the sum, in f32.
    bounds.push_back(u * std::abs(product) + u * (std::abs(expected[i]) + u * std::abs(product)));
  }
  grad_accumulate({.acc = {acc, write}, .incoming = incoming, .scale = -1.7f});
  EXPECT_TRUE(within(acc, expected, rounded_once(bounds, expected, dtypes.acc)));
}

TEST(GradAccumulate, MatchesF64ReferenceOverTheSweep) {
  std::uint64_t seed = 1;
  for (const Device device : devices())
    for (const DType acc_dtype : gradient_dtypes)
      for (const DType dtype : float_dtypes)
        for (const std::int64_t rows : sweep_rows)
          for (const std::int64_t cols : sweep_cols)
            for (const Write write : {Write::overwrite, Write::accumulate}) {
              SCOPED_TRACE(fmt::format("{} into {} [{}, {}] on {}", name_of(dtype), name_of(acc_dtype), rows, cols,
                                       device.to_string()));
              expect_like_the_reference({rows, cols}, {.acc = acc_dtype, .incoming = dtype}, write, ++seed, device);
            }
}

TEST(GradAccumulate, RoundsTheSumToNearestTiesToEvenOnce) {
  for (const Device device : devices()) {
    // 256 + 1 and 258 + 1 lie halfway between bf16 numbers, 256 + 1.25 beyond; the last sum is beyond the largest.
    const Tensor acc = tensor_of({256, 258, 256, 0x1.fep127f}, {4}, DType::bf16, device);
    const Tensor incoming = tensor_of({1, 1, 1.25f, 0x1p127f}, {4}, DType::f32, device);
    grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming});
    EXPECT_TRUE(within(acc, {256, 260, 258, HUGE_VAL}, Bound{})) << device.to_string();
  }
}

TEST(GradAccumulate, WideningWithScaleOneIsExact) {
  for (const Device device : devices())
    for (const DType dtype : float_dtypes) {
      const Tensor incoming = random_tensor({7, 33}, 3, dtype, device),
                   acc = Tensor::empty({7, 33}, DType::f32, device);
      grad_accumulate({.acc = {acc, Write::overwrite}, .incoming = incoming});
      EXPECT_TRUE(within(acc, to_doubles(incoming), Bound{}));
    }
}

// A view need not begin where a 16-byte access may.
TEST(GradAccumulate, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : devices())
    for (const DType acc_dtype : gradient_dtypes)
      for (const DType dtype : float_dtypes) {
        SCOPED_TRACE(fmt::format("{} into {} on {}", name_of(dtype), name_of(acc_dtype), device.to_string()));
        // Values that bf16 holds, so that halving and doubling them is exact in every dtype.
        const Tensor exact = random_tensor({100}, 1, DType::bf16);
        const std::vector<double> values = to_doubles(exact);
        const Tensor buffer = tensor_of({values.begin(), values.end()}, {100}, dtype, device),
                     acc = Tensor::zeros({102}, acc_dtype, device), incoming = buffer.view({97}, 1);
        for (int i = 0; i < 2; ++i)
          grad_accumulate({.acc = {acc.view({97}, 3), Write::accumulate}, .incoming = incoming, .scale = 0.5f});
        EXPECT_TRUE(within(acc.view({97}, 3), to_doubles(incoming), Bound{}));
        EXPECT_EQ(to_doubles(acc.view({3})), (std::vector<double>{0, 0, 0}));
        EXPECT_EQ(to_doubles(acc.view({2}, 100)), (std::vector<double>{0, 0}));
      }
}

TEST(GradAccumulate, AccumulatingTwiceAddsExactlyTwice) {
  for (const Device device : devices()) {
    const Tensor incoming = random_tensor({33}, 1, DType::f32, device), acc = Tensor::zeros({33}, DType::f32, device);
    for (int i = 0; i < 2; ++i) grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming});
    std::vector<double> expected = to_doubles(incoming);
    for (double& value : expected) value *= 2;
    EXPECT_TRUE(within(acc, expected, Bound{}));
  }
}

TEST(GradAccumulate, TakesItsOwnAccumulator) {
  for (const Device device : devices()) {
    const Tensor acc = random_tensor({100}, 1, DType::f32, device);
    std::vector<double> expected = to_doubles(acc);
    for (double& value : expected) value *= 3;
    grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = acc, .scale = 2});
    EXPECT_TRUE(within(acc, expected, Bound{.relative = 2 * unit_roundoff(DType::f32)}));
  }
}

TEST(GradAccumulate, InfinitiesThatCancelBecomeNan) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Device device : devices()) {
    const Tensor acc = tensor_of({inf, 1}, {2}, DType::f32, device),
                 incoming = tensor_of({-inf, 2}, {2}, DType::f32, device);
    grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming});
    EXPECT_TRUE(within(acc, {std::nan(""), 3}, Bound{}));
  }
}

TEST(GradAccumulate, BitsAreTheSameForAnyNumberOfThreads) {
  const int before = thread_count();
  const Tensor incoming = random_tensor({100003}, 1, DType::bf16);
  for (const DType dtype : gradient_dtypes) {
    std::vector<double> first;
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      const Tensor acc = random_tensor({100003}, 2, dtype);
      grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming, .scale = 0.3f});
      if (threads == 1) first = to_doubles(acc);
      EXPECT_EQ(to_doubles(acc), first);
    }
  }
  set_thread_count(before);
}

TEST(GradAccumulate, RefusesWrongOperandsByName) {
  const Tensor x = Tensor::zeros({2, 3}), half = Tensor::zeros({2, 3}, DType::f16);
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), turned = Tensor::zeros({3, 2});
  const auto message = [](const GradAccumulate& op) { return error_message([&] { grad_accumulate(op); }); };
  EXPECT_EQ(message({.incoming = x}), "grad_accumulate: acc must be given");
  EXPECT_EQ(message({.acc = {x}}), "grad_accumulate: incoming must be given");
  EXPECT_EQ(message({.acc = {half}, .incoming = x}), "grad_accumulate: acc must be f32 or bf16, but is f16");
  EXPECT_EQ(message({.acc = {x}, .incoming = ids}), "grad_accumulate: incoming must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message({.acc = {x}, .incoming = turned}),
            "grad_accumulate: incoming must have shape [2, 3] like acc, but has [3, 2]");
  const Tensor base = Tensor::zeros({4}), first = base.view({3}, 0), second = base.view({3}, 1);
  EXPECT_EQ(message({.acc = {first}, .incoming = second}),
            "grad_accumulate: acc and incoming must be the same bytes or disjoint, but overlap partly");
}

}  // namespace
}  // namespace accrue::kernels::grad_accumulate_test
