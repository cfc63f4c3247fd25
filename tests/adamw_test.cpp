#include "kernels/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "testing/compare.h"
#include "testing/step_states.h"
#include "testing/sweep.h"
#include "testing/thread_counts.h"

namespace accrue::kernels::adamw_test {
namespace {

using namespace accrue::testing;

struct Buffers {
  Tensor master, m, v, gradient;
};

Buffers random_buffers(const Shape& shape, std::uint64_t seed, Device device = Device::cpu(),
                       DType gradient = DType::f32) {
  Buffers b{random_tensor(shape, seed, DType::f32, device),
            random_tensor(shape, seed + 1, DType::f32, device),
            {},
            random_tensor(shape, seed + 2, gradient, device)};
  std::vector<float> squares = random_floats(shape.numel(), seed + 3);
  for (float& value : squares) value *= value;
  b.v = tensor_of(squares, shape, DType::f32, device);
  return b;
}

AdamW operation(const Buffers& b, const Tensor& state, const Tensor& compute = {}) {
  return {.master = b.master,
          .m = b.m,
          .v = b.v,
          .compute = compute,
          .gradient = b.gradient,
          .state = state,
          .beta1 = 0.8,
          .beta2 = 0.95,
          .eps = 1e-6,
          .weight_decay = 0.1};
}

const StepState applied{.apply = 1, .factor = 0.25f, .learning_rate = 0.02f, .update = 4};

// The header's formulas in f64, and bounds for the f32 arithmetic: each of the operations below rounds once, and so
// does each scalar; u counts are given in units of the value that they perturb.
struct Expected {
  std::vector<double> master, m, v, master_bound, m_bound, v_bound;
};

Expected reference_of(const AdamW& op, const StepState& s) {
  const double u = unit_roundoff(DType::f32), lr = s.learning_rate, t = static_cast<double>(s.update + 1);
  Expected e{to_doubles(op.master), to_doubles(op.m), to_doubles(op.v), {}, {}, {}};
  const std::vector<double> gradient = to_doubles(op.gradient);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const double g = gradient[i] * s.factor, old = e.master[i];
    const double m_magnitude = op.beta1 * std::abs(e.m[i]) + (1 - op.beta1) * std::abs(g);
    e.m[i] = op.beta1 * e.m[i] + (1 - op.beta1) * g;
    e.v[i] = op.beta2 * e.v[i] + (1 - op.beta2) * g * g;
    // m: scalar, g, product, sum (4 u of the terms' magnitudes); v: scalar, g twice, two products, sum (6 u).
    e.m_bound.push_back(4 * u * m_magnitude);
    e.v_bound.push_back(6 * u * e.v[i]);
    const double denominator = std::sqrt(e.v[i] / (1 - std::pow(op.beta2, t))) + op.eps;
    const double step = lr * (e.m[i] / (1 - std::pow(op.beta1, t))) / denominator;
    e.master[i] = old * (1 - lr * op.weight_decay) - step;
    // The step carries m's absolute error, half of v's relative one (3 u), and 7 roundings: rate, product, root, its
    // correction and product, eps, sum, division. The decayed master rounds twice, the difference once.
    const double step_bound =
        std::abs(step) * 11 * u + lr / (1 - std::pow(op.beta1, t)) / denominator * e.m_bound.back();
    e.master_bound.push_back(1.01 * (step_bound + 2 * u * std::abs(old) + u * (std::abs(old) + std::abs(step))));
  }
  return e;
}

TEST(AdamW, MatchesF64ReferenceOverTheSweepWithEveryComputeCopy) {
  std::uint64_t seed = 1;
  for (const Device device : devices())
    for (const DType gradient : gradient_dtypes)
      for (const std::int64_t rows : sweep_rows)
        for (const std::int64_t cols : sweep_cols)
          for (const int copy : {-1, 0, 1, 2}) {
            const Shape shape{rows, cols};
            SCOPED_TRACE(
                fmt::format("{} copy {} gradient {} on {}", shape, copy, name_of(gradient), device.to_string()));
            const Buffers b = random_buffers(shape, seed += 7, device, gradient);
            const Tensor compute =
                copy < 0 ? Tensor() : Tensor::empty(shape, float_dtypes[static_cast<std::size_t>(copy)], device);
            const AdamW op = operation(b, step_state_of(applied, device), compute);
            const Expected e = reference_of(op, applied);
            adamw(op);
            EXPECT_TRUE(within(b.m, e.m, e.m_bound));
            EXPECT_TRUE(within(b.v, e.v, e.v_bound));
            EXPECT_TRUE(within(b.master, e.master, e.master_bound));
            if (copy < 0) continue;
            // The copy is the master value, rounded as core/dtype.h rounds.
            EXPECT_EQ(to_doubles(compute), to_doubles(tensor_of(b.master.to_vector<float>(), shape, compute.dtype())));
          }
}

TEST(AdamW, AHalfGradientGivesTheBitsOfItsValuesInF32) {
  for (const Device device : devices()) {
    const Buffers half = random_buffers({1003}, 1, device, DType::bf16);
    const std::vector<double> values = to_doubles(half.gradient);
    const Buffers wide{half.master.clone(), half.m.clone(), half.v.clone(),
                       tensor_of({values.begin(), values.end()}, {1003}, DType::f32, device)};
    const Tensor state = step_state_of(applied, device);
    adamw(operation(half, state));
    adamw(operation(wide, state));
    for (const auto& [actual, expected] : {std::pair{half.master, wide.master}, {half.m, wide.m}, {half.v, wide.v}})
      EXPECT_EQ(actual.to_vector<float>(), expected.to_vector<float>()) << device.to_string();
  }
}

TEST(AdamW, WithoutApplyNotOneBitChanges) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const Shape shape{1000};
    const Buffers b = random_buffers(shape, 1, device);
    std::vector<float> poisoned = b.gradient.to_vector<float>();
    poisoned[3] = std::nanf("");
    b.gradient.copy_from_host(std::span<const float>(poisoned));
    const Tensor compute = random_tensor(shape, 9, DType::bf16, device);
    const auto snapshot = [&] {
      return std::tuple(b.master.to_vector<float>(), b.m.to_vector<float>(), b.v.to_vector<float>(),
                        compute.to_vector<bf16>());
    };
    const auto before = snapshot();
    StepState skipped = applied;
    skipped.apply = 0;
    skipped.factor = 0;
    skipped.found_inf = 1;
    const Tensor state = step_state_of(skipped, device);
    adamw(operation(b, state, compute));
    EXPECT_EQ(snapshot(), before);
    EXPECT_EQ(read_step_state(state).update, applied.update);
  }
}

TEST(AdamW, FirstStepMovesByTheLearningRate) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    // At t = 1 both corrected moments are g and g^2: the step is lr * sign(g), whatever g.
    const Tensor zero = Tensor::zeros({3}, DType::f32, device), master = zero.clone(), m = zero.clone(),
                 v = zero.clone();
    const Tensor gradient = tensor_of({1e-3f, -5, 1e4f}, {3}, DType::f32, device);
    adamw({.master = master,
           .m = m,
           .v = v,
           .gradient = gradient,
           .state = step_state_of({.apply = 1, .factor = 1, .learning_rate = 0.5f}, device),
           .eps = 0});
    EXPECT_TRUE(within(master, {-0.5, 0.5, -0.5}, Bound{.relative = 12 * unit_roundoff(DType::f32)}));
  }
}

TEST(AdamW, DecayIsDecoupledFromTheGradient) {
  for (const Device device : devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor master = tensor_of({4}, {1}, DType::f32, device), gradient = Tensor::zeros({1}, DType::f32, device),
                 m = gradient.clone(), v = gradient.clone();
    adamw({.master = master,
           .m = m,
           .v = v,
           .gradient = gradient,
           .state = step_state_of({.apply = 1, .factor = 1, .learning_rate = 0.5f}, device),
           .weight_decay = 0.5});
    EXPECT_EQ(master.item<float>(), 3);
    EXPECT_EQ(m.item<float>(), 0);
    EXPECT_EQ(v.item<float>(), 0);
  }
}

// A slice need not begin where a 16-byte access may, nor end where one would.
TEST(AdamW, UpdatesASliceAsItWouldAlone) {
  for (const Device device : devices())
    for (const DType gradient : gradient_dtypes)
      for (const std::int64_t first : {0, 1, 4}) {
        SCOPED_TRACE(fmt::format("{} from {} on {}", name_of(gradient), first, device.to_string()));
        const Buffers whole = random_buffers({100}, 1, device, gradient);
        const Tensor compute = Tensor::zeros({100}, DType::f16, device), state = step_state_of(applied, device);
        const auto slice = [&](const Tensor& tensor) { return tensor.view({90}, first); };
        const Buffers part{slice(whole.master), slice(whole.m), slice(whole.v), slice(whole.gradient)};
        const Buffers alone{part.master.clone(), part.m.clone(), part.v.clone(), part.gradient.clone()};
        const Tensor before = whole.master.clone(), alone_compute = Tensor::zeros({90}, DType::f16, device);
        adamw(operation(part, state, slice(compute)));
        adamw(operation(alone, state, alone_compute));
        for (const auto& [actual, expected] : {std::pair{part.master, alone.master},
                                               {part.m, alone.m},
                                               {part.v, alone.v},
                                               {slice(compute), alone_compute}})
          EXPECT_EQ(to_doubles(actual), to_doubles(expected));
        const std::int64_t after = first + 90;
        EXPECT_EQ(to_doubles(whole.master.view({first})), to_doubles(before.view({first})));
        EXPECT_EQ(to_doubles(whole.master.view({100 - after}, after)), to_doubles(before.view({100 - after}, after)));
      }
}

TEST(AdamW, BitsAreTheSameForAnyNumberOfThreads) {
  for (const Device device : devices())
    expect_same_bits_for_any_thread_count([&] {
      const Buffers b = random_buffers({50021}, 5, device);
      const Tensor compute = Tensor::empty({50021}, DType::bf16, device);
      adamw(operation(b, step_state_of(applied, device), compute));
      return std::vector{b.master, b.m, b.v, compute};
    });
}

TEST(AdamW, RefusesWrongOperandsByName) {
  const Buffers good = random_buffers({4}, 1);
  const Tensor state = step_state_of(applied), half = Tensor::zeros({4}, DType::f16), three = Tensor::zeros({3});
  const auto message = [&](const auto& change) {
    AdamW op = operation(good, state);
    change(op);
    return error_message([&] { adamw(op); });
  };
  EXPECT_EQ(message([](AdamW& op) { op.state = {}; }), "adamw: state must be given");
  EXPECT_EQ(message([](AdamW& op) { op.master = {}; }), "adamw: master must be given");
  EXPECT_EQ(message([](AdamW& op) { op.m = {}; }), "adamw: m must be given");
  EXPECT_EQ(message([](AdamW& op) { op.v = {}; }), "adamw: v must be given");
  EXPECT_EQ(message([](AdamW& op) { op.gradient = {}; }), "adamw: gradient must be given");
  EXPECT_EQ(message([&](AdamW& op) { op.gradient = half; }), "adamw: gradient must be f32 or bf16, but is f16");
  EXPECT_EQ(message([&](AdamW& op) { op.v = three; }), "adamw: v must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](AdamW& op) { op.compute = three; }),
            "adamw: compute must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](AdamW& op) { op.compute = state; }), "adamw: compute must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(message([](AdamW& op) { op.v = op.m; }), "adamw: m must not share memory with v, but does");
  EXPECT_EQ(message([](AdamW& op) { op.beta1 = 1; }), "adamw: beta1 must be in [0, 1), but is 1");
  EXPECT_EQ(message([](AdamW& op) { op.beta2 = -0.5; }), "adamw: beta2 must be in [0, 1), but is -0.5");
}

}  // namespace
}  // namespace accrue::kernels::adamw_test
