// Loss scaling, clipping and AdamW at the boundary of ten windows, three of which overflow, against
// torch.amp.GradScaler, clip_grad_norm_ and torch.optim.AdamW in f64 (fixtures/make_grad_scaler.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/cast.h"
#include "kernels/grad_accumulate.h"
#include "kernels/gradient_check.h"
#include "kernels/loss_terms.h"
#include "kernels/step_control.h"
#include "optim/adamw.h"
#include "testing/compare.h"
#include "testing/fixtures.h"
#include "testing/step_states.h"
#include "testing/sweep.h"
#include "train/safetensors.h"

namespace accrue::optim::grad_scaler_parity_test {
namespace {

using namespace accrue::testing;
using kernels::StepState;

// The answers of PyTorch, by window.
class Fixture {
 public:
  double number(const std::string& key) const { return std::strtod(file_.metadata().at(key).c_str(), nullptr); }
  std::int64_t windows() const { return static_cast<std::int64_t>(number("windows")); }
  std::int64_t micro_batches() const { return static_cast<std::int64_t>(number("micro_batches")); }

  template <class T>
  std::vector<T> all(const std::string& name) const {
    const auto bytes = file_.get(name).data;
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  template <class T>
  T at(const std::string& name, std::int64_t index) const {
    return all<T>(name).at(static_cast<std::size_t>(index));
  }
  // Rows of `count` elements, as one window's m of a parameter.
  template <class T>
  std::vector<T> row(const std::string& name, std::int64_t index, std::int64_t count) const {
    const std::vector<T> values = all<T>(name);
    const auto begin = values.begin() + index * count;
    return {begin, begin + count};
  }
  std::vector<float> gradient(const Parameter& parameter, std::int64_t window, std::int64_t micro) const {
    return row<float>("gradients." + parameter.name(), window * micro_batches() + micro, parameter.shape().numel());
  }
  // "weights", "m" or "v" of a parameter after a window; as they begin where window is -1.
  std::vector<double> after(std::string_view kind, const Parameter& parameter, std::int64_t window) const {
    const std::int64_t count = parameter.shape().numel();
    if (window >= 0) return row<double>(fmt::format("{}.{}", kind, parameter.name()), window, count);
    if (kind != "weights") return std::vector<double>(static_cast<std::size_t>(count), 0.0);
    const std::vector<float> initial = all<float>("initial." + parameter.name());
    return {initial.begin(), initial.end()};
  }
  std::int64_t targets(std::int64_t window) const {
    std::int64_t sum = 0;
    for (const std::int32_t n : row<std::int32_t>("targets", window, micro_batches())) sum += n;
    return sum;
  }
  bool skipped(std::int64_t window) const { return at<std::int32_t>("skipped", window) != 0; }

 private:
  const train::SafetensorsFile file_{fixture("grad_scaler.safetensors")};
};

// The fixture's parameters as they begin, with their compute copy.
struct Model {
  ParameterStore store;

  Model(const Fixture& fixture, Device device, DType compute) {
    for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
             {"embedding", {7, 19}}, {"weight", {5, 31}}, {"bias", {33}}, {"gain", {17}}})
      store.add(name, shape, Initializer::zeros());
    store.allocate(device, 1, compute);
    for (const Parameter& parameter : store.parameters()) {
      const std::vector<float> initial = fixture.all<float>("initial." + parameter.name());
      parameter.master().copy_from_host(std::span<const float>(initial));
    }
    if (compute != DType::f32) kernels::cast({.out = store.values(), .x = store.master()});
  }
};

StepState first_state(const Fixture& fixture) {
  StepState state;
  state.loss_scale = static_cast<float>(fixture.number("init_scale"));
  return state;
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes());
  Allocator::of(tensor.device()).memory().copy_to_host(bytes.data(), tensor.raw(), bytes.size());
  return bytes;
}

// Windows of the fixture through the kernels of a boundary.
class ScaledRun {
 public:
  ScaledRun(const Fixture& fixture, Device device, DType compute)
      : fixture_(fixture),
        device_(device),
        model_(fixture, device, compute),
        optimizer_(model_.store, {.beta1 = fixture.number("beta1"),
                                  .beta2 = fixture.number("beta2"),
                                  .eps = fixture.number("eps"),
                                  .weight_decay = fixture.number("weight_decay")}),
        state_(step_state_of(first_state(fixture), device)) {}

  // Returns the step's state as the optimizer saw it.
  StepState window(std::int64_t index) {
    store().clear_gradients();
    for (std::int64_t micro = 0; micro < fixture_.micro_batches(); ++micro) backward(index, micro);
    store().settle_gradients();
    kernels::gradient_check({.state = state_, .gradient = store().gradients()});
    kernels::begin_step({.state = state_,
                         .schedule = {.peak = fixture_.number("learning_rate")},
                         .max_norm = fixture_.number("max_norm")});
    const StepState seen = state();
    optimizer_.step(state_);
    kernels::finish_step({.state = state_,
                          .scaling = {.dynamic = true,
                                      .growth = static_cast<float>(fixture_.number("growth_factor")),
                                      .backoff = static_cast<float>(fixture_.number("backoff_factor")),
                                      .interval = static_cast<std::int64_t>(fixture_.number("growth_interval"))}});
    StepState told = state();
    told.held = 0;  // the host has seen how the window ended
    kernels::write_step_state(state_, told);
    return seen;
  }

  ParameterStore& store() { return model_.store; }
  StepState state() const { return kernels::read_step_state(state_); }
  Tensor m() const { return optimizer_.state_tensors()[0].tensor; }
  Tensor v() const { return optimizer_.state_tensors()[1].tensor; }
  // Everything that an update changes, padding included.
  std::vector<std::vector<std::byte>> bits() {
    return {bytes_of(store().master()), bytes_of(store().values()), bytes_of(m()), bytes_of(v())};
  }

 private:
  // What a backward pass under the loss scale leaves: sigma times the gradient of the summed loss, and the loss's
  // terms.
  void backward(std::int64_t window, std::int64_t micro) {
    const float scale = state().loss_scale;
    for (const Parameter& parameter : store().parameters()) {
      const std::vector<float> gradient = fixture_.gradient(parameter, window, micro);
      kernels::grad_accumulate({.acc = parameter.grad_slot(),
                                .incoming = tensor_of(gradient, parameter.shape(), DType::f32, device_),
                                .scale = scale});
    }
    const Tensor terms = kernels::empty_loss_terms(device_);
    const kernels::LossTerms value{
        .sum = 1, .count = fixture_.at<std::int32_t>("targets", window * fixture_.micro_batches() + micro)};
    Allocator::of(device_).memory().copy_from_host(terms.raw(), &value, sizeof value);
    kernels::add_loss_terms({.state = state_, .terms = terms});
  }

  const Fixture& fixture_;
  Device device_;
  Model model_;
  AdamW optimizer_;
  Tensor state_;
};

constexpr double u = unit_roundoff(DType::f32);

// A window's clipped gradient in f64, and how far one may be that was summed and normalised in f32.
struct Gradient {
  std::map<std::string, std::vector<double>> values, errors;
  double norm = 0;        // before clipping
  double norm_error = 0;  // relative
};

// Scaling by powers of two is exact. The sum over K micro-batches rounds K - 1 times, partial sums of at most the sum
// of magnitudes; a bound on the whole sum's error bounds the norm's. The factor c / (sigma W) and its product round
// once.
Gradient reference_gradient(const Fixture& fixture, const std::vector<Parameter>& parameters, std::int64_t window) {
  const double targets = static_cast<double>(fixture.targets(window)),
               roundings = static_cast<double>(fixture.micro_batches() - 1);
  Gradient result;
  double squares = 0, squared_errors = 0;
  for (const Parameter& parameter : parameters) {
    std::vector<double>&sums = result.values[parameter.name()], &errors = result.errors[parameter.name()];
    sums.resize(static_cast<std::size_t>(parameter.shape().numel()));
    errors.resize(sums.size());
    for (std::int64_t micro = 0; micro < fixture.micro_batches(); ++micro) {
      const std::vector<float> gradient = fixture.gradient(parameter, window, micro);
      for (std::size_t i = 0; i < sums.size(); ++i) {
        sums[i] += static_cast<double>(gradient[i]) / targets;
        errors[i] += roundings * u * std::abs(static_cast<double>(gradient[i])) / targets;
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      squares += sums[i] * sums[i];
      squared_errors += errors[i] * errors[i];
    }
  }
  result.norm = std::sqrt(squares);
  result.norm_error = std::sqrt(squared_errors) / result.norm;
  const double clip = std::min(1.0, fixture.number("max_norm") / (result.norm + 1e-6));
  for (auto& [name, sums] : result.values)
    for (std::size_t i = 0; i < sums.size(); ++i) {
      double& error = result.errors[name][i];
      sums[i] *= clip;
      error = error * clip + (result.norm_error + 2 * u) * std::abs(sums[i]);
    }
  return result;
}

// How far m, v and the weights of a parameter may be from PyTorch's: the errors that an update inherits, and those of
// its own roundings, carried from window to window.
class Errors {
 public:
  explicit Errors(const Fixture& fixture) : fixture_(fixture) {}

  void update(const Parameter& parameter, const Gradient& gradient, std::int64_t window, std::int64_t updates) {
    const auto before = [&](std::string_view kind) { return fixture_.after(kind, parameter, window - 1); };
    const std::vector<double> m_before = before("m"), v_before = before("v"), w_before = before("weights"),
                              m = fixture_.after("m", parameter, window), v = fixture_.after("v", parameter, window);
    const std::vector<double>&g = gradient.values.at(parameter.name()), &dg = gradient.errors.at(parameter.name());
    const double beta1 = fixture_.number("beta1"), beta2 = fixture_.number("beta2"), eps = fixture_.number("eps"),
                 t = static_cast<double>(updates), rate = fixture_.number("learning_rate") / (1 - std::pow(beta1, t)),
                 correction = 1 / std::sqrt(1 - std::pow(beta2, t));
    std::vector<double>&dm = of("m", parameter), &dv = of("v", parameter), &dw = of("weights", parameter);
    for (std::size_t i = 0; i < g.size(); ++i) {
      // Each coefficient is rounded, then each product, then their sum.
      dm[i] =
          beta1 * dm[i] + (1 - beta1) * dg[i] + 3 * u * (beta1 * std::abs(m_before[i]) + (1 - beta1) * std::abs(g[i]));
      dv[i] = beta2 * dv[i] + (1 - beta2) * (2 * std::abs(g[i]) + dg[i]) * dg[i] +
              4 * u * (beta2 * v_before[i] + (1 - beta2) * g[i] * g[i]);
      // The quotient's largest change is where the root is smallest; nine roundings: rate and its learning rate,
      // product, correction, root, product, eps, sum, quotient.
      const double root = std::sqrt(v[i]) * correction + eps,
                   least = std::sqrt(std::max(0.0, v[i] - dv[i])) * correction + eps,
                   largest_step = rate * (std::abs(m[i]) + dm[i]) / least;
      const double step_error = rate * (dm[i] / least + std::abs(m[i]) * (1 / least - 1 / root)) + 9 * u * largest_step;
      // The decay's factor, its product, the subtraction.
      dw[i] += step_error + 3 * u * (std::abs(w_before[i]) + largest_step);
    }
  }

  std::vector<double>& of(const std::string& kind, const Parameter& parameter) {
    std::vector<double>& errors = errors_[kind + "." + parameter.name()];
    errors.resize(static_cast<std::size_t>(parameter.shape().numel()));
    return errors;
  }

 private:
  const Fixture& fixture_;
  std::map<std::string, std::vector<double>> errors_;
};

void expect_near_torch(const Fixture& fixture, ScaledRun& run, Errors& errors, std::int64_t window) {
  for (const Parameter& parameter : run.store().parameters()) {
    SCOPED_TRACE(parameter.name());
    const auto expected = [&](std::string_view kind) { return fixture.after(kind, parameter, window); };
    EXPECT_TRUE(within(parameter.master(), expected("weights"), errors.of("weights", parameter))) << "weights";
    EXPECT_TRUE(within(run.store().slice(run.m(), parameter), expected("m"), errors.of("m", parameter))) << "m";
    EXPECT_TRUE(within(run.store().slice(run.v(), parameter), expected("v"), errors.of("v", parameter))) << "v";
  }
}

// For every device and compute dtype: test(run, what it runs).
template <class Test>
void for_each_run(const Fixture& fixture, Test&& test) {
  for (const Device device : devices())
    for (const DType compute : float_dtypes) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(compute), device.to_string()));
      ScaledRun run(fixture, device, compute);
      test(run);
    }
}

TEST(GradScalerParity, ScalesAndSkippedWindowsAreThoseOfTorch) {
  const Fixture fixture;
  for_each_run(fixture, [&](ScaledRun& run) {
    std::int64_t updates = 0;
    for (std::int64_t window = 0; window < fixture.windows(); ++window) {
      EXPECT_EQ(run.state().loss_scale, fixture.at<double>("scale", window)) << "before window " << window;
      EXPECT_EQ(run.window(window).apply == 0, fixture.skipped(window)) << "window " << window;
      updates += fixture.skipped(window) ? 0 : 1;
      EXPECT_EQ(run.state().update, updates) << "window " << window;
      EXPECT_EQ(run.state().skipped, window + 1 - updates) << "window " << window;
    }
    EXPECT_EQ(run.state().loss_scale, fixture.at<double>("scale", fixture.windows()));
    EXPECT_EQ(run.state().skipped, 3);
  });
}

TEST(GradScalerParity, NormsAndUpdatesAreThoseOfTorchUpToRounding) {
  const Fixture fixture;
  for_each_run(fixture, [&](ScaledRun& run) {
    Errors errors(fixture);
    for (std::int64_t window = 0; window < fixture.windows(); ++window) {
      SCOPED_TRACE(fmt::format("window {}", window));
      const StepState seen = run.window(window);
      const double norm = fixture.at<double>("grad_norm", window);
      if (fixture.skipped(window)) {
        EXPECT_EQ(std::isnan(seen.grad_norm), std::isnan(norm));
        EXPECT_FALSE(std::isfinite(seen.grad_norm));
      } else {
        const Gradient gradient = reference_gradient(fixture, run.store().parameters(), window);
        EXPECT_NEAR(seen.grad_norm, norm, (gradient.norm_error + u) * norm);
        for (const Parameter& parameter : run.store().parameters())
          errors.update(parameter, gradient, window, seen.update + 1);
      }
      expect_near_torch(fixture, run, errors, window);
    }
  });
}

TEST(GradScalerParity, SkippedWindowsChangeNoBitAndOthersDo) {
  const Fixture fixture;
  for_each_run(fixture, [&](ScaledRun& run) {
    for (std::int64_t window = 0; window < fixture.windows(); ++window) {
      const auto before = run.bits();
      run.window(window);
      EXPECT_EQ(run.bits() == before, fixture.skipped(window)) << "window " << window;
    }
  });
}

TEST(GradScalerParity, TheComputeCopyIsTheMasterRounded) {
  const Fixture fixture;
  for_each_run(fixture, [&](ScaledRun& run) {
    const DType compute = run.store().compute_dtype();
    for (const Parameter& parameter : run.store().parameters()) {
      const std::string kind = compute == DType::f32 ? "initial" : std::string(name_of(compute));
      const std::vector<float> expected = fixture.all<float>(kind + "." + parameter.name());
      EXPECT_TRUE(within(parameter.value(), {expected.begin(), expected.end()}, Bound{})) << parameter.name();
    }
    for (std::int64_t window = 0; window < fixture.windows(); ++window) {
      run.window(window);
      const Tensor rounded = tensor_of(run.store().master().to_vector<float>(), run.store().master().shape(), compute);
      EXPECT_EQ(bytes_of(run.store().values()), bytes_of(rounded)) << "window " << window;
    }
  });
}

// The finest point of the arithmetic: 1e-6 of a norm of 0.12 is 8e-6 of the gradient.
TEST(GradScalerParity, BoundsAreNarrowerThanAMissingEpsilonInTheClipping) {
  const Fixture fixture;
  const Model model(fixture, Device::cpu(), DType::f32);
  const Gradient gradient = reference_gradient(fixture, model.store.parameters(), 2);
  ASSERT_GT(gradient.norm, fixture.number("max_norm"));
  std::int64_t visible = 0;
  for (const auto& [name, values] : gradient.values)
    for (std::size_t i = 0; i < values.size(); ++i)
      visible += std::abs(values[i]) * 1e-6 / gradient.norm > 2 * gradient.errors.at(name)[i] ? 1 : 0;
  EXPECT_GT(visible, model.store.parameter_count() / 2);
}

}  // namespace
}  // namespace accrue::optim::grad_scaler_parity_test
