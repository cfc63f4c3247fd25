#include "kernels/layernorm.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::layernorm_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::rounded_once;
using testing::tensor_of;
using testing::to_doubles;
using Doubles = std::vector<double>;

constexpr double u = 0x1p-24;
constexpr float eps = 1e-5f;
const float nan = std::numeric_limits<float>::quiet_NaN();

// Additions that one term of a sum over a row passes through: 16 partial sums at least, then their own sum.
double additions(std::int64_t n) { return static_cast<double>(n) / 16 + 8; }

struct Forward {
  Doubles y, mean, rstd;
  Doubles y_bound, mean_bound, rstd_bound;
};

// The definition, with error bounds to first order in u. With k additions per term, the first pass finds the mean up to
// k u mean|x|; in units of the deviation that is D. Deviations from it are rounded once and summed with k additions
// each, which corrects the mean up to (k + 1) u (1 + D) and gives the variance up to (k + 6) u (1 + D)^2, both relative
// to it.
Forward forward_reference(const Doubles& x, const Doubles& gamma, const Doubles& beta, double epsilon) {
  const std::size_t cols = gamma.size();
  const double n = static_cast<double>(cols), k = additions(static_cast<std::int64_t>(cols));
  Forward f;
  for (std::size_t start = 0; start < x.size(); start += cols) {
    double sum = 0, magnitude = 0, squares = 0;
    for (std::size_t i = 0; i < cols; ++i) sum += x[start + i], magnitude += std::abs(x[start + i]);
    const double mean = sum / n;
    for (std::size_t i = 0; i < cols; ++i) squares += (x[start + i] - mean) * (x[start + i] - mean);
    const double rstd = 1 / std::sqrt(squares / n + epsilon);
    const double first_pass = k * u * magnitude / n * rstd;  // D
    const double relative = (k + 6) * u * (1 + first_pass) * (1 + first_pass);
    f.mean.push_back(mean), f.rstd.push_back(rstd);
    f.mean_bound.push_back(u * std::abs(mean) + relative / rstd);
    f.rstd_bound.push_back(relative * rstd);
    for (std::size_t i = 0; i < cols; ++i) {
      const double normalized = (x[start + i] - mean) * rstd, y = normalized * gamma[i] + beta[i];
      // Deviation, scaling and correction: one rounding each of terms up to |normalized| + D; then the affine map's.
      const double error = relative * (1 + std::abs(normalized)) + 3 * u * (std::abs(normalized) + first_pass);
      f.y.push_back(y);
      f.y_bound.push_back(std::abs(gamma[i]) * error + u * std::abs(y));
    }
  }
  return f;
}

struct Backward {
  Doubles dx, dgamma, dbeta;
  Doubles dx_bound, dgamma_bound, dbeta_bound;
};

Backward backward_reference(const Doubles& dy, const Doubles& x, const Doubles& gamma, const Doubles& mean,
                            const Doubles& rstd) {
  const std::size_t cols = gamma.size();
  const double n = static_cast<double>(cols), k = additions(static_cast<std::int64_t>(cols));
  const double rows = static_cast<double>(mean.size());
  Backward b{
      .dgamma = Doubles(cols), .dbeta = Doubles(cols), .dgamma_bound = Doubles(cols), .dbeta_bound = Doubles(cols)};
  for (std::size_t row = 0; row < mean.size(); ++row) {
    const auto normalized = [&](std::size_t i) { return (x[row * cols + i] - mean[row]) * rstd[row]; };
    const auto g = [&](std::size_t i) { return dy[row * cols + i] * gamma[i]; };
    double mean_g = 0, mean_gx = 0, abs_g = 0, abs_gx = 0;
    for (std::size_t i = 0; i < cols; ++i) {
      mean_g += g(i) / n, mean_gx += g(i) * normalized(i) / n;
      abs_g += std::abs(g(i)) / n, abs_gx += std::abs(g(i) * normalized(i)) / n;
      const double d = dy[row * cols + i];
      b.dgamma[i] += d * normalized(i), b.dbeta[i] += d;
      // n terms, each rounded up to three times, err by at most (n + 3) u sum|term| (Higham, section 4.2).
      b.dgamma_bound[i] += (rows + 3) * u * std::abs(d * normalized(i));
      b.dbeta_bound[i] += (rows + 3) * u * std::abs(d);
    }
    for (std::size_t i = 0; i < cols; ++i) {
      b.dx.push_back(rstd[row] * (g(i) - mean_g - normalized(i) * mean_gx));
      // The two means err by (k + 2) and (k + 5) u of their absolute ones; every other operation rounds once.
      b.dx_bound.push_back(rstd[row] * u *
                           (4 * std::abs(g(i)) + (k + 6) * abs_g + (k + 10) * std::abs(normalized(i)) * abs_gx));
    }
  }
  return b;
}

// Operands in `dtype`: the reference computes from the same rounded values, so that only the operation's errors count.
struct Case {
  Tensor x, gamma, beta, y, mean, rstd, dy;
  Case(std::int64_t rows, std::int64_t cols, Device device = Device::cpu(), DType dtype = DType::f32,
       float mean_of_x = 0.5f, float deviation = 1)
      : x(random_tensor({rows, cols}, 1, dtype, device, mean_of_x, deviation)),
        gamma(random_tensor({cols}, 2, dtype, device, 1)),
        beta(random_tensor({cols}, 3, dtype, device)),
        y(empty_like(x)),
        mean(Tensor::empty({rows}, DType::f32, device)),
        rstd(Tensor::empty({rows}, DType::f32, device)),
        dy(random_tensor({rows, cols}, 4, dtype, device)) {
    layernorm_forward({.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = gamma, .beta = beta, .eps = eps});
  }
  Forward expected() const { return forward_reference(to_doubles(x), to_doubles(gamma), to_doubles(beta), eps); }
  Backward expected_gradients() const {
    return backward_reference(to_doubles(dy), to_doubles(x), to_doubles(gamma), to_doubles(mean), to_doubles(rstd));
  }
  void backward(const GradSlot& dx, const GradSlot& dgamma, const GradSlot& dbeta) const {
    layernorm_backward(
        {.dx = dx, .dgamma = dgamma, .dbeta = dbeta, .dy = dy, .x = x, .gamma = gamma, .mean = mean, .rstd = rstd});
  }
};

Tensor nans(const Shape& shape, Device device, DType dtype = DType::f32) {
  return tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), nan), shape, dtype, device);
}

void expect_forward(const Case& c) {
  const Forward expected = c.expected();
  EXPECT_TRUE(testing::within(c.y, expected.y, rounded_once(expected.y_bound, expected.y, c.y.dtype())));
  EXPECT_TRUE(testing::within(c.mean, expected.mean, expected.mean_bound));
  EXPECT_TRUE(testing::within(c.rstd, expected.rstd, expected.rstd_bound));
}

void expect_backward(const Case& c) {
  const Backward expected = c.expected_gradients();
  const Tensor dx = nans(c.x.shape(), c.x.device(), c.x.dtype()), dgamma = nans(c.gamma.shape(), c.x.device()),
               dbeta = nans(c.gamma.shape(), c.x.device());
  c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
  EXPECT_TRUE(testing::within(dx, expected.dx, rounded_once(expected.dx_bound, expected.dx, dx.dtype())));
  EXPECT_TRUE(testing::within(dgamma, expected.dgamma, expected.dgamma_bound));
  EXPECT_TRUE(testing::within(dbeta, expected.dbeta, expected.dbeta_bound));
}

TEST(LayerNorm, ForwardMatchesTheDefinition) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t rows : testing::sweep_rows)
        for (const std::int64_t cols : testing::sweep_cols) {
          SCOPED_TRACE(fmt::format("{} x {} {} on {}", rows, cols, name_of(dtype), device.to_string()));
          expect_forward(Case(rows, cols, device, dtype));
        }
}

TEST(LayerNorm, BackwardMatchesTheDefinition) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t rows : {0, 1, 7, 300})
        for (const std::int64_t cols : testing::sweep_cols) {
          if (rows == 300 && cols > (device.kind == DeviceKind::cpu ? 1000 : 33)) continue;
          SCOPED_TRACE(fmt::format("{} x {} {} on {}", rows, cols, name_of(dtype), device.to_string()));
          expect_backward(Case(rows, cols, device, dtype));
        }
}

// Whole packs of 16 bytes, for teams of one warp and of several, and for rows that do not fit into their registers.
TEST(LayerNorm, RowsOfWholePacksMatchTheDefinition) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t cols : {8, 256, 264, 1024, 4096, 4104}) {
        SCOPED_TRACE(fmt::format("{} {} on {}", cols, name_of(dtype), device.to_string()));
        const Case c(3, cols, device, dtype);
        expect_forward(c);
        expect_backward(c);
      }
}

// Element 1 lies off the 16-byte grid.
TEST(LayerNorm, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      constexpr std::int64_t cols = 40, elements = 3 * cols;
      Case c(3, cols, device, dtype);
      const auto moved = [&](const Tensor& tensor) {
        const Tensor buffer = nans({tensor.numel() + 1}, device, tensor.dtype());
        const Tensor view = buffer.view(tensor.shape(), 1);
        view.copy_from(tensor);
        return view;
      };
      const Tensor guarded = nans({elements + 2}, device, dtype), y = guarded.view({3, cols}, 1);
      layernorm_forward({.y = y,
                         .mean = c.mean,
                         .rstd = c.rstd,
                         .x = moved(c.x),
                         .gamma = moved(c.gamma),
                         .beta = moved(c.beta),
                         .eps = eps});
      c.y = y;
      expect_forward(c);
      EXPECT_TRUE(std::isnan(to_doubles(guarded).front()) && std::isnan(to_doubles(guarded).back()));
      c.x = moved(c.x), c.dy = moved(c.dy), c.gamma = moved(c.gamma);
      expect_backward(c);
    }
}

TEST(LayerNorm, AMeanFarAboveTheDeviationCostsNoAccuracy) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      const Case c(7, 1000, device, dtype, 1e4f, 1);
      expect_forward(c);
      // Stronger than the bound: computed naively in f32, y would be off by about 1e-2.
      if (dtype == DType::f32) {
        EXPECT_TRUE(testing::within(c.y, c.expected().y, testing::Bound{.absolute = 1e-5}));
      }
      expect_backward(c);
    }
}

TEST(LayerNorm, AConstantRowGivesBeta) {
  for (const Device device : testing::devices()) {
    const Case shape(1, 1000, device);
    const Tensor x = tensor_of(std::vector<float>(1000, 12345.678f), {1, 1000}, DType::f32, device);
    layernorm_forward({.y = shape.y,
                       .mean = shape.mean,
                       .rstd = shape.rstd,
                       .x = x,
                       .gamma = shape.gamma,
                       .beta = shape.beta,
                       .eps = eps});
    EXPECT_EQ(shape.mean.item<float>(), 12345.678f);
    // The correction of the mean is exact up to (k + 1) u of its first error, D; scaled by 1 / sqrt(eps).
    const double k = additions(1000), first_error = k * u * 12345.678;
    EXPECT_TRUE(
        testing::within(shape.y, to_doubles(shape.beta),
                        testing::Bound{.relative = u, .absolute = 6 * (k + 8) * u * first_error / std::sqrt(eps)}));
  }
}

TEST(LayerNorm, MatchesFiniteDifferences) {
  for (const Device device : testing::devices()) {
    constexpr std::int64_t rows = 3, cols = 9;
    const Case c(rows, cols, device);
    const Doubles x = to_doubles(c.x), gamma = to_doubles(c.gamma), beta = to_doubles(c.beta), dy = to_doubles(c.dy);
    const auto loss = [&](const Doubles& xs, const Doubles& gammas, const Doubles& betas) {
      const Doubles y = forward_reference(xs, gammas, betas, eps).y;
      double total = 0;
      for (std::size_t i = 0; i < y.size(); ++i) total += dy[i] * y[i];
      return total;
    };
    const Tensor dx = nans({rows, cols}, device), dgamma = nans({cols}, device), dbeta = nans({cols}, device);
    c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
    // The kernel's own bounds, and the forward's statistics: (k + 6) u relative to terms below 4 * |dy| rstd < 100. The
    // differences are good to about 1e-8.
    const double statistics = (additions(cols) + 6) * u * 100;
    const Backward reference = c.expected_gradients();
    const auto loosened = [&](Doubles bounds) {
      for (double& bound : bounds) bound += statistics + 1e-8;
      return bounds;
    };
    const auto of_x = [&](const Doubles& v) { return loss(v, gamma, beta); };
    const auto of_gamma = [&](const Doubles& v) { return loss(x, v, beta); };
    const auto of_beta = [&](const Doubles& v) { return loss(x, gamma, v); };
    EXPECT_TRUE(testing::within(dx, testing::numeric_gradient(of_x, x), loosened(reference.dx_bound)));
    EXPECT_TRUE(testing::within(dgamma, testing::numeric_gradient(of_gamma, gamma), loosened(reference.dgamma_bound)));
    EXPECT_TRUE(testing::within(dbeta, testing::numeric_gradient(of_beta, beta), loosened(reference.dbeta_bound)));
  }
}

TEST(LayerNorm, BackwardTwiceIsExactlyTwice) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      const Case c(70, 65, device, dtype);
      const Tensor dx = nans(c.x.shape(), device, dtype), dgamma = nans({65}, device), dbeta = nans({65}, device);
      c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
      std::vector<Doubles> twice = {to_doubles(dx), to_doubles(dgamma), to_doubles(dbeta)};
      for (Doubles& values : twice)
        for (double& value : values) value *= 2;
      c.backward({dx, Write::accumulate}, {dgamma, Write::accumulate}, {dbeta, Write::accumulate});
      // In a half dtype the f32 gradient is added to its own rounding: what that rounded off comes in again.
      const Doubles bounds = rounded_once(Doubles(twice[0].size()), twice[0], dtype);
      Doubles dx_bounds = bounds;
      for (std::size_t i = 0; i < bounds.size() && dtype != DType::f32; ++i) dx_bounds[i] += bounds[i];
      EXPECT_TRUE(testing::within(dx, twice[0], dx_bounds));
      EXPECT_TRUE(testing::within(dgamma, twice[1], testing::Bound{}));
      EXPECT_TRUE(testing::within(dbeta, twice[2], testing::Bound{}));
    }
}

TEST(LayerNorm, EachGradientIsTheSameWhetherOrNotTheOthersAreWanted) {
  for (const Device device : testing::devices()) {
    const Case c(70, 33, device);
    SCOPED_TRACE(device.to_string());
    const Tensor dx = nans(c.x.shape(), device), dgamma = nans({33}, device), dbeta = nans({33}, device);
    c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
    const Tensor only_dx = nans(c.x.shape(), device), only_dgamma = nans({33}, device), only_dbeta = nans({33}, device);
    c.backward({only_dx, Write::overwrite}, {}, {});
    c.backward({}, {only_dgamma, Write::overwrite}, {});
    c.backward({}, {}, {only_dbeta, Write::overwrite});
    EXPECT_EQ(only_dx.to_vector<float>(), dx.to_vector<float>());
    EXPECT_EQ(only_dgamma.to_vector<float>(), dgamma.to_vector<float>());
    EXPECT_EQ(only_dbeta.to_vector<float>(), dbeta.to_vector<float>());
    const Tensor in_place = c.dy.clone();
    layernorm_backward({.dx = {in_place, Write::overwrite},
                        .dy = in_place,
                        .x = c.x,
                        .gamma = c.gamma,
                        .mean = c.mean,
                        .rstd = c.rstd});
    EXPECT_EQ(in_place.to_vector<float>(), dx.to_vector<float>()) << "dx may be dy";
  }
}

TEST(LayerNorm, ARowsResultDoesNotDependOnTheOtherRows) {
  for (const Device device : testing::devices()) {
    const Case c(9, 100, device);
    const Tensor x = c.x.view({1, 100}, 500), y = Tensor::empty({1, 100}, DType::f32, device),
                 mean = Tensor::empty({1}, DType::f32, device), rstd = Tensor::empty({1}, DType::f32, device);
    layernorm_forward({.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = c.gamma, .beta = c.beta, .eps = eps});
    EXPECT_EQ(y.to_vector<float>(), c.y.view({1, 100}, 500).to_vector<float>());
  }
}

TEST(LayerNorm, NanStaysInItsRow) {
  for (const Device device : testing::devices()) {
    const Case c(3, 40, device);
    std::vector<float> values = c.x.to_vector<float>();
    values[45] = nan;
    const Tensor x = tensor_of(values, c.x.shape(), DType::f32, device);
    layernorm_forward({.y = c.y, .mean = c.mean, .rstd = c.rstd, .x = x, .gamma = c.gamma, .beta = c.beta, .eps = eps});
    const std::vector<float> y = c.y.to_vector<float>();
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 40 == 1) << i;
  }
}

TEST(LayerNorm, MatchesTheDefinitionForRandomShapes) {
  for (const Device device : testing::devices()) {
    const bool ok = rc::check("layernorm", [device] {
      const bool emulated = device.kind != DeviceKind::cpu;
      const auto rows = *rc::gen::inRange<std::int64_t>(0, emulated ? 8 : 80);
      const auto cols = *rc::gen::inRange<std::int64_t>(1, 300);
      const Case c(rows, cols, device);
      const Forward f = c.expected();
      RC_ASSERT(bool(testing::within(c.y, f.y, f.y_bound)));
      const Backward b = c.expected_gradients();
      const Tensor dx = nans(c.x.shape(), device), dgamma = nans({cols}, device), dbeta = nans({cols}, device);
      c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
      RC_ASSERT(bool(testing::within(dx, b.dx, b.dx_bound)));
      RC_ASSERT(bool(testing::within(dgamma, b.dgamma, b.dgamma_bound)));
      RC_ASSERT(bool(testing::within(dbeta, b.dbeta, b.dbeta_bound)));
    });
    EXPECT_TRUE(ok);
  }
}

TEST(LayerNorm, HasTheSameBitsForAnyNumberOfThreads) {
  testing::expect_same_bits_for_any_thread_count([&] {
    const Device device = Device::cpu();
    const Case c(1025, 129, device);
    const Tensor dx = nans(c.x.shape(), device), dgamma = nans({129}, device), dbeta = nans({129}, device);
    c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
    return std::vector{c.y, c.mean, c.rstd, dx, dgamma, dbeta};
  });
}

TEST(LayerNorm, TwoRunsGiveTheSameBits) {
  for (const Device device : testing::devices()) {
    const auto run = [&] {
      const Case c(70, 129, device);
      const Tensor dx = nans(c.x.shape(), device), dgamma = nans({129}, device), dbeta = nans({129}, device);
      c.backward({dx, Write::overwrite}, {dgamma, Write::overwrite}, {dbeta, Write::overwrite});
      std::vector<std::vector<float>> results;
      for (const Tensor& result : {c.y, c.mean, c.rstd, dx, dgamma, dbeta})
        results.push_back(result.to_vector<float>());
      return results;
    };
    EXPECT_EQ(run(), run()) << device.to_string();
  }
}

TEST(LayerNorm, ForwardNamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({8, 768}), row = Tensor::zeros({8}), col = Tensor::zeros({768}),
               bad = Tensor::zeros({512});
  const Tensor half = Tensor::zeros({8, 768}, DType::bf16), half_col = Tensor::zeros({768}, DType::bf16);
  const Tensor half_row = Tensor::zeros({8}, DType::bf16), ids = Tensor::zeros({8, 768}, DType::i32);
  const Tensor none = Tensor::zeros({8, 0}), flat = Tensor::zeros({8 * 768 + 1});
  const Tensor left = flat.view({8, 768}), right = flat.view({8, 768}, 1);
  const LayerNormForward good{.y = x, .mean = row, .rstd = row, .x = x, .gamma = col, .beta = col};
  const auto message = [&](auto change) {
    return error_message([&] {
      LayerNormForward op = good;
      change(op);
      layernorm_forward(op);
    });
  };
  EXPECT_EQ(message([&](auto& op) { op.beta = {}; }), "layernorm_forward: beta must be given");
  EXPECT_EQ(message([&](auto& op) { op.gamma = bad; }),
            "layernorm_forward: gamma must have shape [768] to match the last axis of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.beta = bad; }),
            "layernorm_forward: beta must have shape [768] to match the last axis of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.mean = bad; }),
            "layernorm_forward: mean must have shape [8] to match the rows of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.rstd = bad; }),
            "layernorm_forward: rstd must have shape [8] to match the rows of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.y = bad; }),
            "layernorm_forward: y must have shape [8, 768] like x, but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.y = half; }), "layernorm_forward: y must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.gamma = half_col; }), "layernorm_forward: gamma must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.rstd = half_row; }), "layernorm_forward: rstd must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.x = ids; }), "layernorm_forward: x must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message([&](auto& op) { op.x = none; }),
            "layernorm_forward: x must have a last axis of at least 1 element, but has shape [8, 0]");
  EXPECT_EQ(message([&](auto& op) { op.eps = -1; }), "layernorm_forward: eps must not be negative, but is -1");
  EXPECT_EQ(message([&](auto& op) { op.x = half, op.y = half, op.gamma = half_col, op.beta = half_col; }),
            "layernorm_forward: the CPU backend computes in f32, but x is bf16");
  EXPECT_EQ(message([&](auto& op) { op.x = left, op.y = right; }),
            "layernorm_forward: y and x must be the same bytes or disjoint, but overlap partly");
}

TEST(LayerNorm, BackwardNamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({8, 768}), row = Tensor::zeros({8}), col = Tensor::zeros({768}),
               bad = Tensor::zeros({512});
  const Tensor half = Tensor::zeros({8, 768}, DType::bf16), half_col = Tensor::zeros({768}, DType::bf16);
  const Tensor scalar = Tensor::zeros({}), flat = Tensor::zeros({8 * 768 + 1});
  const Tensor left = flat.view({8, 768}), right = flat.view({8, 768}, 1);
  const Tensor dgamma = Tensor::zeros({768}), dbeta = Tensor::zeros({768});
  const LayerNormBackward good{.dx = {x, Write::overwrite},
                               .dgamma = {dgamma, Write::overwrite},
                               .dbeta = {dbeta, Write::overwrite},
                               .dy = x,
                               .x = x,
                               .gamma = col,
                               .mean = row,
                               .rstd = row};
  layernorm_backward(good);  // in place of dy and of x
  const auto message = [&](auto change) {
    return error_message([&] {
      LayerNormBackward op = good;
      change(op);
      layernorm_backward(op);
    });
  };
  EXPECT_EQ(message([&](auto& op) { op.dy = {}; }), "layernorm_backward: dy must be given");
  EXPECT_EQ(message([&](auto& op) { op.x = scalar; }),
            "layernorm_backward: x must have a last axis of at least 1 element, but has shape []");
  EXPECT_EQ(message([&](auto& op) { op.dy = bad; }),
            "layernorm_backward: dy must have shape [8, 768] like x, but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.dx.tensor = bad; }),
            "layernorm_backward: dx must have shape [8, 768] like x, but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.dx.tensor = half; }), "layernorm_backward: dx must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.dy = half; }), "layernorm_backward: dy must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.gamma = bad; }),
            "layernorm_backward: gamma must have shape [768] to match the last axis of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.mean = bad; }),
            "layernorm_backward: mean must have shape [8] to match the rows of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.rstd = bad; }),
            "layernorm_backward: rstd must have shape [8] to match the rows of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.dgamma.tensor = bad; }),
            "layernorm_backward: dgamma must have shape [768] to match the last axis of x [8, 768], but has [512]");
  EXPECT_EQ(message([&](auto& op) { op.dbeta.tensor = half_col; }),
            "layernorm_backward: dbeta must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.dx.tensor = left, op.dy = right; }),
            "layernorm_backward: dx and dy must be the same bytes or disjoint, but overlap partly");
  EXPECT_EQ(message([&](auto& op) { op.dx.tensor = left, op.x = right; }),
            "layernorm_backward: dx and x must be the same bytes or disjoint, but overlap partly");
  EXPECT_EQ(message([&](auto& op) { op.dgamma.tensor = op.dbeta.tensor; }),
            "layernorm_backward: dgamma must not share memory with dbeta, but does");
  EXPECT_EQ(message([&](auto& op) { op.dgamma.tensor = op.gamma; }),
            "layernorm_backward: dgamma must not share memory with gamma, but does");
  EXPECT_EQ(message([&](auto& op) { op.dgamma = {}, op.dbeta.tensor = op.dy.view({768}), op.dx = {}; }),
            "layernorm_backward: dbeta must not share memory with dy, but does");
  EXPECT_EQ(message([&](auto& op) { op.gamma = op.dx.tensor.view({768}); }),
            "layernorm_backward: dx must not share memory with gamma, but does");
  EXPECT_EQ(message([&](auto& op) { op.x = half, op.dy = half, op.gamma = half_col, op.dx = {}; }),
            "layernorm_backward: the CPU backend computes in f32, but x is bf16");
}

}  // namespace
}  // namespace accrue::kernels::layernorm_test
