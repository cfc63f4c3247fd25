// `gpt audit`: how much of a gradient is lost while micro-gradients add up, by the dtype they add up in (contract 9).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "train/dataset.h"
#include "train/evaluate.h"

namespace accrue::train {

// Parses "1,2,4" into accumulations in increasing order, each once. Throws Error(usage) naming the part that is wrong.
std::vector<std::int64_t> parse_accumulations(const std::string& text);

// ||gradient - reference|| / ||reference||.
struct GradientError {
  double whole = 0;             // over all parameters
  std::string worst_parameter;  // the one whose own gradient is furthest off
  double worst = 0;
};

// After so many micro-batches. Accumulation's errors are those of the accumulated gradient against the sum of the same
// micro-gradients in f64; every micro-gradient is what one backward pass stores in a cleared f32 gradient.
struct AuditRow {
  std::int64_t accumulation = 0;
  GradientError f32, bf16;  // by what gradients accumulate in
  // Of computing: the f64 sum of these micro-gradients against that of micro-gradients computed in f32. Only where
  // activations or products are in less.
  std::optional<GradientError> computation;
};

// Registers a model in a store and allocates it with `compute` and `accumulate` (nn::initialize); the same weights
// every time. The loss that it returns keeps the model alive.
using ModelFactory = std::function<LossFunction(ParameterStore& parameters, DType compute, DType accumulate)>;

struct AuditOptions {
  std::vector<std::int64_t> accumulations;  // increasing, at least 1
  std::int64_t micro_batch = 1;             // samples
  std::uint64_t seed = 0;                   // of dropout
  Device device;
  DType compute = DType::f32;
  float loss_scale = 1;         // a power of two: gradients are compared after an exact division by it
  bool unequal_targets = true;  // mask targets as `gpt verify` does
  std::function<void(const AuditRow&)> on_row = {};  // as soon as each is known
};

// Sends the first micro-batches of the data, which repeats where it is short of samples, through models that differ in
// what gradients accumulate in alone. Takes device memory for three models and their gradients, host memory for one
// gradient in f64; one more of both where the cost of computing is measured. Throws Error(numeric) naming the
// micro-batch and the parameter if a micro-gradient is not finite.
std::vector<AuditRow> audit_accumulation(const ModelFactory& make, const Dataset& data, const AuditOptions& options);

}  // namespace accrue::train
