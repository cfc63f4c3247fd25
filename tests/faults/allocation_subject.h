// A small GPT in training, put together as the programs do it, for the tests of failing allocations.
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <vector>

#include "kernels/threads.h"
#include "nn/gpt.h"
#include "optim/adamw.h"
#include "tests/faults/allocation_faults.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"
#include "train/accumulator.h"
#include "train/dataset.h"
#include "train/evaluate.h"

namespace accrue::testing {

struct SubjectOptions {
  DType compute = DType::f32, accumulate = DType::f32;
  bool recompute = false;
  train::Reports reports = train::Reports::at_once;
};

// Everything of a training that a failure could damage, and a pass over its data. One thread: which allocation is the
// n-th must not depend on how threads meet.
class Subject {
 public:
  static constexpr std::int64_t micro = 2, accumulation = 3;

  explicit Subject(Device where, const SubjectOptions& options = {})
      : device(where),
        model(config(options)),
        optimizer(initialized(options), {}),
        accumulator(parameters, optimizer, accumulator_options(options)),
        data(train::TokenSamples(text(), model.config().context, "text")) {}

  nn::Loss loss(Tape& tape, const train::Batch& batch) const { return model.loss(tape, batch.inputs, batch.targets); }
  train::LossFunction loss_function() const {
    return [this](Tape& tape, const train::Batch& batch) { return loss(tape, batch); };
  }
  std::optional<train::WindowReport> micro_batch(std::int64_t index) {
    const train::Batch batch = data.batch(std::array{2 * index, 2 * index + 1}, device);
    Tape tape = accumulator.begin_micro_batch(micro);
    const nn::Loss micro_loss = loss(tape, batch);
    return accumulator.accumulate(tape, micro_loss);
  }
  void micro_batches(std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i) micro_batch(i);
  }
  void window() { micro_batches(0, accumulation); }

  // What has to survive: between windows.
  struct Bits {
    std::vector<std::uint32_t> weights, optimizer;
    std::array<std::int64_t, 8> counters;
    float loss_scale = 0;
    friend bool operator==(const Bits&, const Bits&) = default;
    friend void PrintTo(const Bits& bits, std::ostream* out) {
      *out << fmt::format("weights {:x}…, optimizer {:x}…, counters {}, loss scale {}", bits.weights.front(),
                          bits.optimizer.front(), fmt::join(bits.counters, " "), bits.loss_scale);
    }
  };
  Bits bits() {
    accumulator.flush();
    const train::Accumulator::State state = accumulator.state();
    Bits bits{.weights = bits_of(parameters.master()),
              .counters = {state.micro, state.window, state.step.update, state.step.skipped, state.step.empty,
                           state.step.replayed, state.step.clean_windows, state.step.held},
              .loss_scale = state.step.loss_scale};
    for (const optim::NamedTensor& buffer : optimizer.state_tensors())
      std::ranges::copy(bits_of(buffer.tensor), std::back_inserter(bits.optimizer));
    return bits;
  }

  Device device;
  nn::Gpt model;
  ParameterStore parameters;
  optim::AdamW optimizer;
  train::Accumulator accumulator;
  train::TextDataset data;

 private:
  static std::span<const std::uint8_t> text() {
    static const std::vector<std::uint8_t> tokens = [] {
      std::vector<std::uint8_t> values;
      for (const std::int32_t token : random_integers(12 * 8 + 1, 29, 5))
        values.push_back(static_cast<std::uint8_t>(token));
      return values;
    }();
    return tokens;
  }
  static nn::GptConfig config(const SubjectOptions& options) {
    kernels::set_thread_count(1);
    nn::GptConfig config = small_gpt(0.1f);
    config.layers = 1;
    config.recompute = options.recompute;
    return config;
  }
  static train::AccumulatorOptions accumulator_options(const SubjectOptions& options) {
    return {.accumulation = accumulation,
            .schedule = {.peak = 1e-2, .total = 10},
            .max_norm = 1,
            .seed = 3,
            .scaling = {.dynamic = options.compute == DType::f16},
            .loss_scale = options.compute == DType::f16 ? 65536.0f : 1.0f,
            .reports = options.reports};
  }
  ParameterStore& initialized(const SubjectOptions& options) {
    nn::initialize(model, parameters, 11, device, options.compute, options.accumulate);
    return parameters;
  }
};

}  // namespace accrue::testing
