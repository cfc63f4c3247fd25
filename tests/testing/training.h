// A small model in training, and samples for it: what the tests of windows, resume and memory share.
#pragma once

#include <bit>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_devices.h"
#include "nn/gpt.h"
#include "nn/mlp.h"
#include "optim/adamw.h"
#include "tests/testing/compare.h"
#include "train/accumulator.h"

namespace accrue::testing {

constexpr double u = unit_roundoff(DType::f32);

// Samples along axis 0 of both tensors.
struct Samples {
  Tensor inputs, targets;

  std::int64_t count() const { return inputs.shape()[0]; }
  Samples part(std::int64_t first, std::int64_t samples) const {
    return {.inputs = rows(inputs, first, samples), .targets = rows(targets, first, samples)};
  }

 private:
  static Tensor rows(const Tensor& tensor, std::int64_t first, std::int64_t count) {
    std::vector<std::int64_t> extents(tensor.shape().extents().begin(), tensor.shape().extents().end());
    const std::int64_t each = tensor.numel() / extents[0];
    extents[0] = count;
    return tensor.view(Shape(extents), first * each);
  }
};

// How far the logged losses of two splits of a window with so many targets may be from each other, of their size.
//
// On the CPU a row of the forward pass has the same bits whatever rows are beside it. The row losses are then the same
// numbers, and only their f64 sum is taken in another order: n additions err by at most n * 2^-53 of the sum of these
// positive terms, twice. cuBLASLt chooses its algorithm by the number of rows: a row's logits, sums of a few dozen
// terms through a handful of layers, then differ by their rounding in f32.
inline double logged_loss_bound(Device device, std::int64_t targets) {
  return device.kind == DeviceKind::cpu ? 2 * static_cast<double>(targets) * 0x1p-53 : 1e-5;
}

// Whether a product that is added to an old value is summed before: cuBLASLt may begin its sum with the old value.
inline bool adds_whole_products(Device device) { return device.kind == DeviceKind::cpu || cuda::emulated(); }

inline nn::GptConfig small_gpt(float dropout = 0) {
  return {.vocabulary = 29, .context = 8, .layers = 2, .heads = 2, .width = 16, .dropout = dropout};
}

inline std::vector<std::int32_t> random_integers(std::int64_t count, std::int64_t below, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::uniform_int_distribution<std::int32_t> distribution(0, static_cast<std::int32_t>(below - 1));
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = distribution(generator);
  return values;
}

// One sample for each of `counts`: random tokens, of whose targets the first counts[s] count and the others are masked.
inline Samples gpt_samples(const nn::GptConfig& config, const std::vector<std::int64_t>& counts, std::uint64_t seed,
                           Device device = Device::cpu()) {
  const Shape shape{std::ssize(counts), config.context};
  const auto tokens = random_integers(shape.numel(), config.vocabulary, seed);
  auto targets = random_integers(shape.numel(), config.vocabulary, seed + 1);
  const auto context = static_cast<std::size_t>(config.context);
  for (std::size_t s = 0; s < counts.size(); ++s) {
    for (auto t = static_cast<std::size_t>(counts[s]); t < context; ++t) targets[s * context + t] = -1;
  }
  return {.inputs = Tensor::from<std::int32_t>(tokens, shape, device),
          .targets = Tensor::from<std::int32_t>(targets, shape, device)};
}

// Counts of targets as unequal as they get, with masked samples in between: 8, 0, 1, 7, 3, 0, 5, 2, 8, …
inline std::vector<std::int64_t> unequal_counts(std::int64_t samples) {
  static constexpr std::int64_t pattern[] = {8, 0, 1, 7, 3, 0, 5, 2};
  std::vector<std::int64_t> counts(static_cast<std::size_t>(samples));
  for (std::size_t s = 0; s < counts.size(); ++s) counts[s] = pattern[s % 8];
  return counts;
}

// Inputs f32 [samples, width] and one class a sample.
inline Samples class_samples(std::int64_t samples, std::int64_t width, std::int64_t classes, std::uint64_t seed,
                             Device device = Device::cpu()) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> inputs(static_cast<std::size_t>(samples * width));
  for (auto& value : inputs) value = distribution(generator);
  return {.inputs = Tensor::from<float>(inputs, {samples, width}, device),
          .targets = Tensor::from<std::int32_t>(random_integers(samples, classes, seed + 1), {samples}, device)};
}

// What the optimizer is handed at each boundary, before the optimizer proper does its work.
class RecordingOptimizer final : public optim::Optimizer {
 public:
  RecordingOptimizer(ParameterStore& parameters, optim::Optimizer& inner) : parameters_(parameters), inner_(inner) {}

  void step(const Tensor& state) override {
    last_state = kernels::read_step_state(state);
    last_sums.clear();
    for (const Parameter& parameter : parameters_.parameters()) {
      const std::vector<double> sums = to_doubles(parameter.grad());
      last_sums.insert(last_sums.end(), sums.begin(), sums.end());
    }
    ++steps;
    inner_.step(state);
  }
  std::vector<optim::NamedTensor> state_tensors() const override { return inner_.state_tensors(); }
  std::string name() const override { return inner_.name(); }

  int steps = 0;
  kernels::StepState last_state;
  std::vector<double> last_sums;  // the summed gradient of the window, all parameters one after the other, no padding

 private:
  ParameterStore& parameters_;
  optim::Optimizer& inner_;
};

inline std::vector<std::uint32_t> bits_of(const Tensor& tensor) {
  std::vector<std::uint32_t> bits;
  for (const float value : tensor.to_vector<float>()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

// Every bit that an update changes.
struct TrainingBits {
  std::vector<std::uint32_t> weights, optimizer;
  std::int64_t update = 0;
  friend bool operator==(const TrainingBits&, const TrainingBits&) = default;
};

template <class Model, class Optimizer = optim::AdamW>
struct Training {
  template <class OptimizerOptions = optim::AdamWOptions>
  explicit Training(Model m, Device device = Device::cpu(), const train::AccumulatorOptions& options = {},
                    const OptimizerOptions& optimizer_options = {}, DType compute = DType::f32,
                    DType accumulate = DType::f32)
      : model(std::move(m)),
        optimizer(initialized(device, compute, accumulate), optimizer_options),
        recorder(parameters, optimizer),
        accumulator(parameters, recorder, options) {}

  std::optional<train::WindowReport> micro_batch(const Samples& samples) {
    Tape tape = accumulator.begin_micro_batch(samples.count());
    const nn::Loss loss = nn::cross_entropy(tape, model.forward(tape, samples.inputs), samples.targets);
    return accumulator.accumulate(tape, loss);
  }
  // A whole window, cut into micro-batches of these sizes.
  train::WindowReport window(const Samples& samples, const std::vector<std::int64_t>& cut) {
    accumulator.open_window(std::ssize(cut));
    std::optional<train::WindowReport> report;
    std::int64_t first = 0;
    for (const std::int64_t size : cut) {
      report = micro_batch(samples.part(first, size));
      first += size;
    }
    check(first == samples.count(), "the cut covers {} of {} samples", first, samples.count());
    return report.value();
  }
  train::WindowReport window(const Samples& samples) { return window(samples, {samples.count()}); }

  // The last window's G: what was summed, divided by its targets.
  std::vector<double> gradient() const {
    std::vector<double> values = recorder.last_sums;
    for (double& value : values) value /= static_cast<double>(recorder.last_state.target_count);
    return values;
  }
  TrainingBits bits() const {
    TrainingBits all{.weights = bits_of(parameters.master()), .update = accumulator.counters().update};
    for (const optim::NamedTensor& state : optimizer.state_tensors()) {
      const auto more = bits_of(state.tensor);
      all.optimizer.insert(all.optimizer.end(), more.begin(), more.end());
    }
    return all;
  }

  Model model;
  ParameterStore parameters;
  Optimizer optimizer;
  RecordingOptimizer recorder;
  train::Accumulator accumulator;

 private:
  ParameterStore& initialized(Device device, DType compute, DType accumulate) {
    nn::initialize(model, parameters, 11, device, compute, accumulate);
    return parameters;
  }
};

// `samples` cut into micro-batches of `micro`, the last one smaller where they do not divide.
inline std::vector<std::int64_t> cut_evenly(std::int64_t samples, std::int64_t micro) {
  std::vector<std::int64_t> cut;
  for (std::int64_t left = samples; left > 0; left -= micro) cut.push_back(std::min(left, micro));
  return cut;
}

}  // namespace accrue::testing
