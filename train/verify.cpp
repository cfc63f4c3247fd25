#include "train/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "optim/adamw.h"
#include "train/accumulator.h"
#include "train/relative_error.h"
#include "train/unequal_targets.h"

namespace accrue::train {
namespace {

// Values in f32, parameter by parameter, each of which stands for value / divisor. Comparison divides in f64: the
// division adds no rounding to what is compared, and nothing is kept in twice the memory.
struct Quotients {
  std::vector<std::vector<float>> values;
  double divisor = 1;
};

// What one window leaves behind.
struct WindowResult {
  double loss = 0;
  std::vector<std::string> names;
  Quotients gradients, weights;
  std::size_t peak_bytes = 0;
};

// Takes the gradient at the boundary, the only moment at which it is there: after the step the window is cleared.
class GradientRecorder final : public optim::Optimizer {
 public:
  GradientRecorder(const ParameterStore& parameters, optim::Optimizer& optimizer)
      : parameters_(parameters), optimizer_(optimizer) {}

  void step(const Tensor& state) override {
    for (const Parameter& parameter : parameters_.parameters()) sums.push_back(parameter.grad().to_vector<float>());
    optimizer_.step(state);
  }
  std::vector<optim::NamedTensor> state_tensors() const override { return optimizer_.state_tensors(); }
  std::string name() const override { return optimizer_.name(); }

  std::vector<std::vector<float>> sums;  // before the division, parameter by parameter

 private:
  const ParameterStore& parameters_;
  optim::Optimizer& optimizer_;
};

std::int64_t parse_count(std::string_view text, const std::string& part) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1'000'000)
    fail(ErrorKind::usage, "--splits: '{}' is not MICROxACCUMULATION, such as 2x4 (both at least 1)", part);
  return value;
}

Batch window_samples(const Dataset& data, std::int64_t samples, bool unequal_targets, Device device) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(samples));
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<std::int64_t>(i) % data.size();
  const Batch batch = data.batch(indices, device);
  if (unequal_targets) mask_targets(batch, 0);
  return batch;
}

WindowResult run_window(const Batch& window, const Split& split, Normalisation normalisation,
                        const VerifyOptions& options) {
  nn::Gpt model(options.model);
  ParameterStore parameters;
  nn::initialize(model, parameters, options.seed, options.device);
  optim::AdamW optimizer(parameters, {});
  GradientRecorder recorder(parameters, optimizer);
  Accumulator accumulator(
      parameters, recorder,
      {.accumulation = split.accumulation, .max_norm = 1.0, .normalisation = normalisation, .seed = options.seed});

  Allocator& allocator = Allocator::of(options.device);
  allocator.reset_peak();
  const std::int64_t context = window.inputs.shape()[1];
  std::optional<WindowReport> report;
  for (std::int64_t k = 0; k < split.accumulation; ++k) {
    const Shape shape{split.micro, context};
    const std::int64_t offset = k * shape.numel();
    Tape tape = accumulator.begin_micro_batch(split.micro);
    const nn::Loss loss = model.loss(tape, window.inputs.view(shape, offset), window.targets.view(shape, offset));
    report = accumulator.accumulate(tape, loss);
  }
  const auto divisor =
      static_cast<double>(normalisation == Normalisation::targets ? report.value().targets : split.accumulation);
  WindowResult result{.loss = report.value().loss,
                      .names = {},
                      .gradients = {.values = std::move(recorder.sums), .divisor = divisor},
                      .weights = {},
                      .peak_bytes = allocator.stats().total.peak};
  for (const Parameter& parameter : parameters.parameters()) {
    result.names.push_back(parameter.name());
    result.weights.values.push_back(parameter.master().to_vector<float>());
  }
  return result;
}

// Of parameter p.
RelativeError compare(const Quotients& result, const Quotients& reference, std::size_t p) {
  RelativeError error;
  for (std::size_t i = 0; i < result.values[p].size(); ++i)
    error.include(result.values[p][i] / result.divisor, reference.values[p][i] / reference.divisor);
  return error;
}

double overall(const Quotients& result, const Quotients& reference) {
  RelativeError total;
  for (std::size_t p = 0; p < result.values.size(); ++p) total += compare(result, reference, p);
  return total.ratio();
}

SplitDifference difference(const Split& split, const WindowResult& result, const WindowResult& whole) {
  SplitDifference d{.split = split,
                    .loss = std::abs(result.loss - whole.loss) / std::abs(whole.loss),
                    .gradient = overall(result.gradients, whole.gradients),
                    .weights = overall(result.weights, whole.weights),
                    .peak_bytes = result.peak_bytes};
  for (std::size_t p = 0; p < result.names.size(); ++p) {
    const double own = compare(result.gradients, whole.gradients, p).ratio();
    if (d.worst_tensor.empty() || !(own <= d.worst_gradient)) d.worst_tensor = result.names[p], d.worst_gradient = own;
  }
  return d;
}

}  // namespace

std::vector<Split> parse_splits(const std::string& text) {
  std::vector<Split> splits;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t cross = part.find('x');
    if (cross == std::string::npos)
      fail(ErrorKind::usage, "--splits: '{}' is not MICROxACCUMULATION, such as 2x4", part);
    const Split split{.micro = parse_count(std::string_view(part).substr(0, cross), part),
                      .accumulation = parse_count(std::string_view(part).substr(cross + 1), part)};
    if (!splits.empty() && split.samples() != splits.front().samples())
      fail(ErrorKind::usage,
           "--splits: {} is a window of {} samples, but {}x{} one of {}; all must cut the same window", part,
           split.samples(), splits.front().micro, splits.front().accumulation, splits.front().samples());
    splits.push_back(split);
    begin = end + 1;
  }
  return splits;
}

double split_equivalence_bound(std::int64_t accumulation) {
  return 1e-6 * std::sqrt(std::max(1.0, static_cast<double>(accumulation) / 1024));
}

std::vector<SplitDifference> verify_splits(const Dataset& data, const std::vector<Split>& splits,
                                           const VerifyOptions& options) {
  check(!splits.empty(), "verify_splits: no split given");
  const std::int64_t samples = splits.front().samples();
  const Batch window = window_samples(data, samples, options.unequal_targets, options.device);
  const WindowResult whole = run_window(window, {.micro = samples, .accumulation = 1}, Normalisation::targets, options);
  std::vector<SplitDifference> differences;
  for (const Split& split : splits)
    differences.push_back(difference(split, run_window(window, split, options.normalisation, options), whole));
  return differences;
}

}  // namespace accrue::train
