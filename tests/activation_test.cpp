#include "kernels/activation.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>
#include <cmath>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/reference_gelu.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::activation_test {
namespace {

using testing::error_message;
using testing::Gelu;
using testing::random_tensor;
using testing::tensor_of;
using testing::to_doubles;

constexpr double u = 0x1p-24;
const float nan = std::numeric_limits<float>::quiet_NaN();
const float inf = std::numeric_limits<float>::infinity();

double relu(double x) { return x > 0 ? x : 0; }

std::vector<float> dense_sample() {
  std::vector<float> x;
  for (double v = -14; v < 14; v += 1e-3) x.push_back(static_cast<float>(v));
  for (int e = -149; e < 127; ++e) x.insert(x.end(), {std::ldexp(1.0f, e), -std::ldexp(1.0f, e)});
  return x;
}

Tensor forward(const Tensor& x, Activation kind) {
  const Tensor y = empty_like(x);
  activation_forward({.y = y, .x = x, .kind = kind});
  return y;
}

Tensor backward(const Tensor& x, const Tensor& dy, Activation kind) {
  const Tensor dx =
      tensor_of(std::vector<float>(static_cast<std::size_t>(x.numel()), nan), x.shape(), x.dtype(), x.device());
  activation_backward({.dx = {dx, Write::overwrite}, .dy = dy, .x = x, .kind = kind});
  return dx;
}

void expect_forward(const Tensor& x) {
  std::vector<double> gelus, bounds, relus;
  for (const double v : to_doubles(x)) {
    gelus.push_back(Gelu(v).value), bounds.push_back(Gelu(v).value_bound());
    relus.push_back(relu(v));
  }
  bounds = testing::rounded_once(bounds, gelus, x.dtype());
  EXPECT_TRUE(testing::within(forward(x, Activation::gelu), gelus, bounds));
  EXPECT_TRUE(testing::within(forward(x, Activation::relu), relus, testing::Bound{}));
  const Tensor in_place = x.clone();
  activation_forward({.y = in_place, .x = in_place, .kind = Activation::gelu});
  EXPECT_TRUE(testing::within(in_place, gelus, bounds));
}

void expect_backward(const Tensor& x, const Tensor& dy) {
  const std::vector<double> xs = to_doubles(x), dys = to_doubles(dy);
  std::vector<double> gelus, bounds, relus;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const Gelu g(xs[i]);
    gelus.push_back(dys[i] * g.derivative);
    bounds.push_back(std::abs(dys[i]) * (g.derivative_bound() + std::abs(g.derivative) * u));
    relus.push_back(xs[i] > 0 ? dys[i] : 0);
  }
  bounds = testing::rounded_once(bounds, gelus, x.dtype());
  EXPECT_TRUE(testing::within(backward(x, dy, Activation::gelu), gelus, bounds));
  EXPECT_TRUE(testing::within(backward(x, dy, Activation::relu), relus, testing::Bound{}));
  activation_backward({.dx = {dy, Write::overwrite}, .dy = dy, .x = x, .kind = Activation::gelu});
  EXPECT_TRUE(testing::within(dy, gelus, bounds)) << "in place";
}

// Calls function(device, dtype) for everything that activations may be in.
template <class Function>
void for_each_device_and_dtype(Function&& function) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      function(device, dtype);
    }
}

TEST(Activation, ForwardMatchesTheDefinition) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    for (const std::int64_t rows : testing::sweep_rows)
      for (const std::int64_t cols : testing::sweep_cols) {
        SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
        expect_forward(random_tensor({rows, cols}, 1, dtype, device, 0, 3));
      }
  });
}

TEST(Activation, BackwardMatchesTheDefinition) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    for (const std::int64_t rows : testing::sweep_rows)
      for (const std::int64_t cols : testing::sweep_cols) {
        SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
        expect_backward(random_tensor({rows, cols}, 1, dtype, device, 0, 3),
                        random_tensor({rows, cols}, 2, dtype, device));
      }
  });
}

TEST(Activation, MatchesTheDefinitionForRandomShapesAndMagnitudes) {
  for (const Device device : testing::devices())
    EXPECT_TRUE(rc::check("activation", [device] {
      const DType dtype = *rc::gen::elementOf(testing::activation_dtypes(device));
      const Shape shape{*rc::gen::inRange<std::int64_t>(0, 50), *rc::gen::inRange<std::int64_t>(1, 300)};
      const auto seed = *rc::gen::inRange<std::uint64_t>(0, 1000);
      const float deviation = std::ldexp(1.0f, *rc::gen::inRange(-20, 10));
      const Tensor x = random_tensor(shape, seed, dtype, device, 0, deviation);
      expect_forward(x);
      expect_backward(x, random_tensor(shape, seed + 1, dtype, device));
      RC_ASSERT(!::testing::Test::HasFailure());
    }));
}

// A view need not begin where a 16-byte access may.
TEST(Activation, TakesViewsThatBeginAtAnyElement) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    const Tensor buffer = random_tensor({300}, 1, dtype, device), out = Tensor::zeros({102}, dtype, device);
    const Tensor x = buffer.view({97}, 1), dy = buffer.view({97}, 150);
    const auto expect_inside = [&](const std::vector<double>& expected) {
      EXPECT_EQ(to_doubles(out.view({97}, 3)), expected);
      EXPECT_EQ(to_doubles(out.view({3})), (std::vector<double>{0, 0, 0}));
      EXPECT_EQ(to_doubles(out.view({2}, 100)), (std::vector<double>{0, 0}));
    };
    for (const Activation kind : {Activation::gelu, Activation::relu}) {
      activation_forward({.y = out.view({97}, 3), .x = x, .kind = kind});
      expect_inside(to_doubles(forward(x.clone(), kind)));
      activation_backward({.dx = {out.view({97}, 3), Write::overwrite}, .dy = dy, .x = x, .kind = kind});
      expect_inside(to_doubles(backward(x.clone(), dy.clone(), kind)));
    }
  });
}

TEST(Activation, GeluIsAccurateOverTheWholeRangeOfFloats) {
  const std::vector<float> sample = dense_sample();
  const Shape shape{static_cast<std::int64_t>(sample.size())};
  std::vector<double> values, value_bounds, derivatives, derivative_bounds;
  for (const float v : sample) {
    const Gelu g(v);
    values.push_back(g.value), value_bounds.push_back(g.value_bound());
    derivatives.push_back(g.derivative), derivative_bounds.push_back(g.derivative_bound());
  }
  for (const Device device : testing::devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor x = tensor_of(sample, shape, DType::f32, device),
                 ones = tensor_of(std::vector<float>(sample.size(), 1), shape, DType::f32, device);
    EXPECT_TRUE(testing::within(forward(x, Activation::gelu), values, value_bounds));
    EXPECT_TRUE(testing::within(backward(x, ones, Activation::gelu), derivatives, derivative_bounds));
  }
}

TEST(Activation, GeluGradientMatchesFiniteDifferences) {
  for (const Device device : testing::devices()) {
    const Tensor x = random_tensor({31}, 1, DType::f32, device, 0, 2), dy = random_tensor({31}, 2, DType::f32, device);
    const std::vector<double> weights = to_doubles(dy);
    const auto loss = [&](const std::vector<double>& xs) {
      double total = 0;
      for (std::size_t i = 0; i < xs.size(); ++i) total += weights[i] * Gelu(xs[i]).value;
      return total;
    };
    std::vector<double> bounds;
    for (const double v : to_doubles(x))  // |dy| < 4; the differences themselves are good to 1e-9
      bounds.push_back(4 * (Gelu(v).derivative_bound() + 2 * u) + 1e-9);
    EXPECT_TRUE(
        testing::within(backward(x, dy, Activation::gelu), testing::numeric_gradient(loss, to_doubles(x)), bounds));
  }
}

TEST(Activation, ReluGradientMatchesFiniteDifferences) {
  std::vector<float> away_from_zero = testing::random_floats(31, 1);
  for (float& v : away_from_zero) v += std::copysign(0.1f, v);
  for (const Device device : testing::devices()) {
    const Tensor x = tensor_of(away_from_zero, {31}, DType::f32, device),
                 dy = random_tensor({31}, 2, DType::f32, device);
    const std::vector<double> weights = to_doubles(dy);
    const auto loss = [&](const std::vector<double>& xs) {
      double total = 0;
      for (std::size_t i = 0; i < xs.size(); ++i) total += weights[i] * relu(xs[i]);
      return total;
    };
    EXPECT_TRUE(testing::within(backward(x, dy, Activation::relu), testing::numeric_gradient(loss, to_doubles(x)),
                                testing::Bound{.absolute = 1e-9}));
  }
}

TEST(Activation, NanStaysNanAndInfinitiesTakeTheirLimits) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    const Tensor x = tensor_of({nan, inf, -inf, 0.0f, -0.0f}, {5}, dtype, device),
                 dy = tensor_of({1, 1, 1, 1, 1}, {5}, dtype, device);
    for (const Activation kind : {Activation::gelu, Activation::relu}) {
      const std::vector<double> y = to_doubles(forward(x, kind));
      EXPECT_TRUE(std::isnan(y[0]));
      EXPECT_EQ(y[1], HUGE_VAL);
      EXPECT_EQ(y[3], 0);
      EXPECT_EQ(y[4], 0);
      const std::vector<double> dx = to_doubles(backward(x, dy, kind));
      EXPECT_TRUE(std::isnan(dx[0]));
      EXPECT_EQ(dx[1], 1);
      EXPECT_NEAR(dx[2], 0, 0x1p-118);
      EXPECT_EQ(dx[3], kind == Activation::gelu ? 0.5 : 0);
    }
    EXPECT_EQ(to_doubles(forward(x, Activation::relu))[2], 0);
    EXPECT_TRUE(std::isnan(to_doubles(forward(x, Activation::gelu))[2]));  // -inf * 0, as the formula says
  });
}

TEST(Activation, ReluBackwardTakesTheOutputForTheInput) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    const Tensor x = random_tensor({7, 33}, 1, dtype, device), dy = random_tensor({7, 33}, 2, dtype, device);
    EXPECT_EQ(to_doubles(backward(x, dy, Activation::relu)),
              to_doubles(backward(forward(x, Activation::relu), dy, Activation::relu)));
  });
}

TEST(Activation, BackwardTwiceIsExactlyTwice) {
  for (const Device device : testing::devices())
    for (const Activation kind : {Activation::gelu, Activation::relu}) {
      SCOPED_TRACE(device.to_string());
      const Tensor x = random_tensor({7, 33}, 1, DType::f32, device),
                   dy = random_tensor({7, 33}, 2, DType::f32, device);
      const Tensor dx = backward(x, dy, kind);
      std::vector<double> expected = to_doubles(dx);
      for (double& value : expected) value *= 2;
      activation_backward({.dx = {dx, Write::accumulate}, .dy = dy, .x = x, .kind = kind});
      EXPECT_TRUE(testing::within(dx, expected, testing::Bound{}));
    }
}

TEST(Activation, AccumulatesOntoWhatIsThere) {
  for_each_device_and_dtype([](Device device, DType dtype) {
    const Tensor x = random_tensor({7, 33}, 1, dtype, device), dy = random_tensor({7, 33}, 2, dtype, device),
                 dx = random_tensor({7, 33}, 3, dtype, device);
    const std::vector<double> xs = to_doubles(x), dys = to_doubles(dy);
    std::vector<double> expected = to_doubles(dx), bounds;
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const Gelu g(xs[i]);
      const double own_bound = std::abs(dys[i]) * (g.derivative_bound() + std::abs(g.derivative) * u);
      expected[i] += dys[i] * g.derivative;
      bounds.push_back(own_bound + u * (std::abs(expected[i]) + own_bound));  // of the product, then of the sum
    }
    activation_backward({.dx = {dx, Write::accumulate}, .dy = dy, .x = x, .kind = Activation::gelu});
    EXPECT_TRUE(testing::within(dx, expected, testing::rounded_once(bounds, expected, dtype)));
  });
}

TEST(Activation, HasTheSameBitsForAnyNumberOfThreads) {
  for (const Device device : testing::devices()) {
    const Tensor x = random_tensor({129, 1001}, 1, DType::f32, device),
                 dy = random_tensor({129, 1001}, 2, DType::f32, device);
    for (const Activation kind : {Activation::gelu, Activation::relu})
      testing::expect_same_bits_for_any_thread_count([&] {
        return std::vector{forward(x, kind), backward(x, dy, kind)};
      });
  }
}

TEST(Activation, ForwardNamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({6}), half = Tensor::zeros({2, 3}, DType::f16);
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), flat = Tensor::zeros({10});
  const Tensor left = flat.view({6}), right = flat.view({6}, 2);
  const auto message = [](const Tensor& y, const Tensor& in) {
    return error_message([&] { activation_forward({.y = y, .x = in, .kind = Activation::gelu}); });
  };
  EXPECT_EQ(message({}, x), "activation_forward: y must be given");
  EXPECT_EQ(message(x, {}), "activation_forward: x must be given");
  EXPECT_EQ(message(other, x), "activation_forward: y must have shape [2, 3] like x, but has [6]");
  EXPECT_EQ(message(half, x), "activation_forward: y must be f32, but is f16");
  EXPECT_EQ(message(ids, ids), "activation_forward: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message(half, half), "activation_forward: the CPU backend computes in f32, but x is f16");
  EXPECT_EQ(message(left, right), "activation_forward: y and x must be the same bytes or disjoint, but overlap partly");
}

TEST(Activation, BackwardNamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), other = Tensor::zeros({6}), half = Tensor::zeros({2, 3}, DType::bf16);
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), flat = Tensor::zeros({10}), six = Tensor::zeros({6});
  const Tensor left = flat.view({6}), right = flat.view({6}, 2);
  const auto message = [](const Tensor& dx, const Tensor& dy, const Tensor& in) {
    return error_message([&] {
      const GradSlot slot{dx, Write::overwrite};
      activation_backward({.dx = slot, .dy = dy, .x = in, .kind = Activation::relu});
    });
  };
  EXPECT_EQ(message({}, x, x), "activation_backward: dx must be given");
  EXPECT_EQ(message(x, {}, x), "activation_backward: dy must be given");
  EXPECT_EQ(message(x, x, {}), "activation_backward: x must be given");
  EXPECT_EQ(message(other, x, x), "activation_backward: dx must have shape [2, 3] like x, but has [6]");
  EXPECT_EQ(message(x, other, x), "activation_backward: dy must have shape [2, 3] like x, but has [6]");
  EXPECT_EQ(message(half, x, x), "activation_backward: dx must be f32, but is bf16");
  EXPECT_EQ(message(x, half, x), "activation_backward: dy must be f32, but is bf16");
  EXPECT_EQ(message(ids, ids, ids), "activation_backward: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message(half, half, half), "activation_backward: the CPU backend computes in f32, but x is bf16");
  EXPECT_EQ(message(left, right, six),
            "activation_backward: dx and dy must be the same bytes or disjoint, but overlap partly");
  EXPECT_EQ(message(left, six, right),
            "activation_backward: dx and x must be the same bytes or disjoint, but overlap partly");
}

}  // namespace
}  // namespace accrue::kernels::activation_test
