#include "kernels/sgd.h"

#include <gtest/gtest.h>

#include <cmath>

#include "testing/compare.h"
#include "testing/step_states.h"
#include "testing/sweep.h"
#include "testing/thread_counts.h"

namespace accrue::kernels::sgd_test {
namespace {

using namespace accrue::testing;

const StepState applied{.apply = 1, .factor = 0.25f, .learning_rate = 0.02f, .update = 4};

struct Form {
  double momentum;
  bool nesterov;
};

Sgd random_operation(const Shape& shape, const Form& form, std::uint64_t seed, Device device = Device::cpu(),
                     DType gradient = DType::f32) {
  return {.master = random_tensor(shape, seed, DType::f32, device),
          .buffer = form.momentum != 0 ? random_tensor(shape, seed + 1, DType::f32, device) : Tensor(),
          .gradient = random_tensor(shape, seed + 2, gradient, device),
          .state = step_state_of(applied, device),
          .momentum = form.momentum,
          .nesterov = form.nesterov,
          .weight_decay = 0.1};
}

// The header's formulas in f64, and bounds for the f32 arithmetic.
struct Expected {
  std::vector<double> master, buffer, master_bound, buffer_bound;
};

Expected reference_of(const Sgd& op, const StepState& s) {
  const double u = unit_roundoff(DType::f32);
  Expected e{to_doubles(op.master), {}, {}, {}};
  if (op.buffer.defined()) e.buffer = to_doubles(op.buffer);
  const std::vector<double> gradient = to_doubles(op.gradient);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const double old = e.master[i], scaled = gradient[i] * s.factor, decay = op.weight_decay * old;
    const double g = scaled + decay, g_bound = 3 * u * (std::abs(scaled) + std::abs(decay));  // scalar, products, sum
    double step = g, step_bound = g_bound;
    if (op.buffer.defined()) {
      const double kept = op.momentum * e.buffer[i];
      e.buffer[i] = kept + g;
      e.buffer_bound.push_back(g_bound + 3 * u * (std::abs(kept) + std::abs(g)));
      step = op.nesterov ? g + op.momentum * e.buffer[i] : e.buffer[i];
      step_bound = op.nesterov ? g_bound + e.buffer_bound.back() + 3 * u * (std::abs(g) + std::abs(e.buffer[i]))
                               : e.buffer_bound.back();
    }
    e.master[i] = old - s.learning_rate * step;
    e.master_bound.push_back(1.01 * (s.learning_rate * (step_bound + u * std::abs(step)) +
                                     u * (std::abs(old) + s.learning_rate * std::abs(step))));
    if (op.buffer.defined()) e.buffer_bound.back() *= 1.01;
  }
  return e;
}

TEST(Sgd, MatchesF64ReferenceOverTheSweepWithEveryComputeCopy) {
  std::uint64_t seed = 1;
  for (const Device device : devices())
    for (const Form& form : {Form{0, false}, Form{0.9, false}, Form{0.9, true}})
      for (const DType gradient : gradient_dtypes)
        for (const std::int64_t rows : sweep_rows)
          for (const std::int64_t cols : sweep_cols)
            for (const int copy : {-1, 0, 1, 2}) {
              const Shape shape{rows, cols};
              SCOPED_TRACE(fmt::format("{} momentum {} nesterov {} copy {} gradient {} on {}", shape, form.momentum,
                                       form.nesterov, copy, name_of(gradient), device.to_string()));
              Sgd op = random_operation(shape, form, seed += 5, device, gradient);
              if (copy >= 0) op.compute = Tensor::empty(shape, float_dtypes[static_cast<std::size_t>(copy)], device);
              const Expected e = reference_of(op, applied);
              sgd(op);
              EXPECT_TRUE(within(op.master, e.master, e.master_bound));
              if (op.buffer.defined()) {
                EXPECT_TRUE(within(op.buffer, e.buffer, e.buffer_bound));
              }
              if (copy < 0) continue;
              EXPECT_EQ(to_doubles(op.compute),
                        to_doubles(tensor_of(op.master.to_vector<float>(), shape, op.compute.dtype())));
            }
}

TEST(Sgd, AHalfGradientGivesTheBitsOfItsValuesInF32) {
  for (const Device device : devices())
    for (const std::int64_t first : {0, 1, 4}) {
      SCOPED_TRACE(fmt::format("from {} on {}", first, device.to_string()));
      const Sgd half = random_operation({1003}, {0.9, true}, 1, device, DType::bf16);
      const auto slice = [&](const Tensor& tensor) { return tensor.view({990}, first); };
      Sgd part = half;
      part.master = slice(half.master), part.buffer = slice(half.buffer), part.gradient = slice(half.gradient);
      Sgd wide = part;
      const std::vector<double> values = to_doubles(part.gradient);
      wide.master = part.master.clone(), wide.buffer = part.buffer.clone();
      wide.gradient = tensor_of({values.begin(), values.end()}, {990}, DType::f32, device);
      sgd(part);
      sgd(wide);
      EXPECT_EQ(part.master.to_vector<float>(), wide.master.to_vector<float>());
      EXPECT_EQ(part.buffer.to_vector<float>(), wide.buffer.to_vector<float>());
    }
}

TEST(Sgd, WithoutApplyNotOneBitChanges) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    Sgd op = random_operation({1000}, {0.9, true}, 1, device);
    op.compute = random_tensor({1000}, 9, DType::f16, device);
    op.gradient = tensor_of(std::vector<float>(1000, std::nanf("")), {1000}, DType::f32, device);
    StepState skipped = applied;
    skipped.apply = 0;
    op.state = step_state_of(skipped, device);
    const auto snapshot = [&] {
      return std::tuple(op.master.to_vector<float>(), op.buffer.to_vector<float>(), op.compute.to_vector<f16>());
    };
    const auto before = snapshot();
    sgd(op);
    EXPECT_EQ(snapshot(), before);
  }
}

// A slice need not begin where a 16-byte access may, nor end where one would.
TEST(Sgd, UpdatesASliceAsItWouldAlone) {
  for (const Device device : devices())
    for (const std::int64_t first : {0, 1, 4}) {
      SCOPED_TRACE(fmt::format("from {} on {}", first, device.to_string()));
      const Sgd whole = random_operation({100}, {0.9, true}, 1, device);
      const Tensor compute = Tensor::zeros({100}, DType::bf16, device), before = whole.master.clone();
      const auto slice = [&](const Tensor& tensor) { return tensor.view({90}, first); };
      Sgd part = whole;
      part.master = slice(whole.master), part.buffer = slice(whole.buffer), part.gradient = slice(whole.gradient);
      part.compute = slice(compute);
      Sgd alone = part;
      alone.master = part.master.clone(), alone.buffer = part.buffer.clone();
      alone.gradient = part.gradient.clone(), alone.compute = part.compute.clone();
      sgd(part);
      sgd(alone);
      for (const auto& [actual, expected] :
           {std::pair{part.master, alone.master}, {part.buffer, alone.buffer}, {part.compute, alone.compute}})
        EXPECT_EQ(to_doubles(actual), to_doubles(expected));
      const std::int64_t after = first + 90;
      EXPECT_EQ(to_doubles(whole.master.view({first})), to_doubles(before.view({first})));
      EXPECT_EQ(to_doubles(whole.master.view({100 - after}, after)), to_doubles(before.view({100 - after}, after)));
    }
}

TEST(Sgd, BitsAreTheSameForAnyNumberOfThreads) {
  for (const Device device : devices())
    expect_same_bits_for_any_thread_count([&] {
      const Sgd op = random_operation({50021}, {0.9, true}, 5, device);
      sgd(op);
      return std::vector{op.master, op.buffer};
    });
}

TEST(Sgd, RefusesWrongOperandsByName) {
  const Sgd good = random_operation({4}, {0.9, false}, 1);
  const Tensor half = Tensor::zeros({4}, DType::f16), three = Tensor::zeros({3}), bytes = Tensor::zeros({4}, DType::u8);
  const auto message = [&](const auto& change) {
    Sgd op = good;
    change(op);
    return error_message([&] { sgd(op); });
  };
  EXPECT_EQ(message([](Sgd& op) { op.state = {}; }), "sgd: state must be given");
  EXPECT_EQ(message([](Sgd& op) { op.master = {}; }), "sgd: master must be given");
  EXPECT_EQ(message([](Sgd& op) { op.gradient = {}; }), "sgd: gradient must be given");
  EXPECT_EQ(message([](Sgd& op) { op.buffer = {}; }), "sgd: buffer must be given with momentum 0.9, but is left out");
  EXPECT_EQ(message([](Sgd& op) { op.momentum = 0; }), "sgd: buffer must be left out with momentum 0, but is given");
  EXPECT_EQ(message([](Sgd& op) { op.momentum = 0, op.buffer = {}, op.nesterov = true; }),
            "sgd: nesterov must come with a momentum, but momentum is 0");
  EXPECT_EQ(message([&](Sgd& op) { op.gradient = half; }), "sgd: gradient must be f32 or bf16, but is f16");
  EXPECT_EQ(message([&](Sgd& op) { op.buffer = three; }), "sgd: buffer must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](Sgd& op) { op.compute = three; }), "sgd: compute must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](Sgd& op) { op.compute = bytes; }), "sgd: compute must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(message([](Sgd& op) { op.gradient = op.master; }),
            "sgd: master must not share memory with gradient, but does");
}

}  // namespace
}  // namespace accrue::kernels::sgd_test
