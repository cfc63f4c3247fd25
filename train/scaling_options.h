// Options of a training run about loss scaling, overflow and the dtype in which gradients accumulate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "train/accumulator.h"

namespace CLI {
class App;
}

namespace accrue::train {

// As the user gave them.
struct ScalingOptions {
  std::optional<std::string> loss_scale;  // "dynamic", or a power of two
  std::optional<std::int64_t> growth_interval;
  std::string on_overflow = "skip", accumulate_dtype = "fp32";
};

void add_scaling_options(CLI::App& app, ScalingOptions& options);

// Sets scaling, loss_scale and on_overflow for activations of that dtype: half precision, whose smallest numbers
// gradients fall below, is scaled dynamically unless the user says otherwise. Throws Error(usage) for options that
// contradict each other.
void apply_scaling(const ScalingOptions& options, DType compute, AccumulatorOptions& accumulator);
DType accumulate_dtype(const ScalingOptions& options);
// The options with their values as text.
std::vector<std::pair<std::string, std::string>> scaling_rules(const ScalingOptions& options, DType compute);

}  // namespace accrue::train
