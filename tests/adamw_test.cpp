#include "kernels/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/threads.h"
#include "testing/compare.h"
#include "testing/step_states.h"
#include "testing/sweep.h"

namespace accrue::kernels {
namespace {

using namespace accrue::testing;

struct Buffers {
  Tensor master, m, v, gradient;
};

Buffers random_buffers(const Shape& shape, std::uint64_t seed, Device device = Device::cpu()) {
  Buffers b{random_tensor(shape, seed, DType::f32, device),
            random_tensor(shape, seed + 1, DType::f32, device),
            {},
            random_tensor(shape, seed + 2, DType::f32, device)};
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
    for (const std::int64_t rows : sweep_rows)
      for (const std::int64_t cols : sweep_cols)
        for (const int copy : {-1, 0, 1, 2}) {
          const Shape shape{rows, cols};
          SCOPED_TRACE(fmt::format("{} copy {}", shape, copy));
          const Buffers b = random_buffers(shape, seed += 7, device);
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

TEST(AdamW, WithoutApplyNotOneBitChanges) {
  const Shape shape{1000};
  const Buffers b = random_buffers(shape, 1);
  std::vector<float> poisoned = b.gradient.to_vector<float>();
  poisoned[3] = std::nanf("");
  b.gradient.copy_from_host(std::span<const float>(poisoned));
  const Tensor compute = random_tensor(shape, 9, DType::bf16);
  const auto snapshot = [&] {
    return std::tuple(b.master.to_vector<float>(), b.m.to_vector<float>(), b.v.to_vector<float>(),
                      compute.to_vector<bf16>());
  };
  const auto before = snapshot();
  StepState skipped = applied;
  skipped.apply = 0;
  skipped.factor = 0;
  skipped.found_inf = 1;
  const Tensor state = step_state_of(skipped);
  adamw(operation(b, state, compute));
  EXPECT_EQ(snapshot(), before);
  EXPECT_EQ(read_step_state(state).update, applied.update);
}

TEST(AdamW, FirstStepMovesByTheLearningRate) {
  // At t = 1 both corrected moments are g and g^2: the step is lr * sign(g), whatever g.
  const Tensor master = Tensor::zeros({3}), m = Tensor::zeros({3}), v = Tensor::zeros({3});
  const Tensor gradient = tensor_of({1e-3f, -5, 1e4f}, {3});
  adamw({.master = master,
         .m = m,
         .v = v,
         .gradient = gradient,
         .state = step_state_of({.apply = 1, .factor = 1, .learning_rate = 0.5f}),
         .eps = 0});
  EXPECT_TRUE(within(master, {-0.5, 0.5, -0.5}, Bound{.relative = 12 * unit_roundoff(DType::f32)}));
}

TEST(AdamW, DecayIsDecoupledFromTheGradient) {
  const Tensor master = tensor_of({4}, {1}), m = Tensor::zeros({1}), v = Tensor::zeros({1}),
               gradient = Tensor::zeros({1});
  adamw({.master = master,
         .m = m,
         .v = v,
         .gradient = gradient,
         .state = step_state_of({.apply = 1, .factor = 1, .learning_rate = 0.5f}),
         .weight_decay = 0.5});
  EXPECT_EQ(master.item<float>(), 3);
  EXPECT_EQ(m.item<float>(), 0);
  EXPECT_EQ(v.item<float>(), 0);
}

TEST(AdamW, BitsAreTheSameForAnyNumberOfThreads) {
  const int before = thread_count();
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    const Buffers b = random_buffers({50021}, 5);
    adamw(operation(b, step_state_of(applied)));
    if (threads == 1) first = b.master.to_vector<float>();
    EXPECT_EQ(b.master.to_vector<float>(), first);
  }
  set_thread_count(before);
}

TEST(AdamW, RefusesWrongOperandsByName) {
  const Buffers good = random_buffers({4}, 1);
  const Tensor state = step_state_of(applied), half = Tensor::zeros({4}, DType::bf16), three = Tensor::zeros({3});
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
  EXPECT_EQ(message([&](AdamW& op) { op.gradient = half; }), "adamw: gradient must be f32, but is bf16");
  EXPECT_EQ(message([&](AdamW& op) { op.v = three; }), "adamw: v must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](AdamW& op) { op.compute = three; }),
            "adamw: compute must have shape [4] like master, but has [3]");
  EXPECT_EQ(message([&](AdamW& op) { op.compute = state; }), "adamw: compute must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(message([](AdamW& op) { op.v = op.m; }), "adamw: m must not share memory with v, but does");
  EXPECT_EQ(message([](AdamW& op) { op.beta1 = 1; }), "adamw: beta1 must be in [0, 1), but is 1");
  EXPECT_EQ(message([](AdamW& op) { op.beta2 = -0.5; }), "adamw: beta2 must be in [0, 1), but is -0.5");
}

}  // namespace
}  // namespace accrue::kernels
