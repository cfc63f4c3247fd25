#include "train/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <numeric>
#include <string_view>
#include <utility>

#include "kernels/loss_scaling.h"
#include "kernels/matmul_precision.h"
#include "train/relative_error.h"
#include "train/unequal_targets.h"

namespace accrue::train {
namespace {

// What a parameter's gradient stands for, in f64.
std::vector<double> gradient_of(const Parameter& parameter, double loss_scale) {
  if (parameter.fresh()) return std::vector<double>(static_cast<std::size_t>(parameter.shape().numel()));
  const auto unscaled = [&](const auto& stored) {
    std::vector<double> values;
    values.reserve(stored.size());
    for (const auto value : stored) values.push_back(static_cast<double>(static_cast<float>(value)) / loss_scale);
    return values;
  };
  const Tensor& gradient = parameter.grad();
  return gradient.dtype() == DType::bf16 ? unscaled(gradient.to_vector<bf16>()) : unscaled(gradient.to_vector<float>());
}

// A model of its own, whose gradients accumulate unless they are cleared.
struct Replica {
  Replica(const ModelFactory& make, DType compute, DType accumulate, float scale)
      : loss(make(parameters, compute, accumulate)), loss_scale(scale) {}

  void backpropagate(const Batch& batch, const RandomKey& random) const {
    MicroBatchContext context{.random = random};
    if (loss_scale != 1)
      context.loss_scale = Tensor::from<float>(std::array{loss_scale}, {1}, parameters.master().device());
    Tape tape(std::move(context));
    tape.backward(loss(tape, batch).terms);
  }
  std::vector<double> gradient(std::size_t parameter) const {
    return gradient_of(parameters.parameters()[parameter], loss_scale);
  }

  ParameterStore parameters;
  LossFunction loss;
  float loss_scale;
};

// Micro-gradients summed in f64, parameter by parameter.
class ReferenceSum {
 public:
  ReferenceSum(const ModelFactory& make, DType compute, float loss_scale)
      : model_(make, compute, DType::f32, loss_scale) {
    for (const Parameter& parameter : model_.parameters.parameters())
      sums_.emplace_back(static_cast<std::size_t>(parameter.shape().numel()));
  }

  void add(const Batch& batch, const RandomKey& random, std::int64_t micro_batch) {
    model_.parameters.clear_gradients();
    model_.backpropagate(batch, random);
    for (std::size_t p = 0; p < sums_.size(); ++p) {
      const std::vector<double> gradient = model_.gradient(p);
      if (!std::ranges::all_of(gradient, [](double value) { return std::isfinite(value); }))
        fail_not_finite(p, micro_batch);
      std::ranges::transform(sums_[p], gradient, sums_[p].begin(), std::plus());
    }
  }

  const std::vector<double>& sum(std::size_t parameter) const { return sums_[parameter]; }
  // Of a gradient that is asked for parameter by parameter.
  template <class Gradient>
  GradientError error_of(const Gradient& gradient) const {
    GradientError error;
    RelativeError whole;
    for (std::size_t p = 0; p < sums_.size(); ++p) {
      const std::vector<double>& values = gradient(p);
      RelativeError own;
      for (std::size_t i = 0; i < values.size(); ++i) own.include(values[i], sums_[p][i]);
      whole += own;
      if (error.worst_parameter.empty() || !(own.ratio() <= error.worst)) {
        error.worst_parameter = model_.parameters.parameters()[p].name();
        error.worst = own.ratio();
      }
    }
    error.whole = whole.ratio();
    return error;
  }

 private:
  [[noreturn]] void fail_not_finite(std::size_t parameter, std::int64_t micro_batch) const {
    const std::string advice =
        model_.parameters.compute_dtype() == DType::f16
            ? fmt::format(
                  "computed in fp16 with a loss scale of {:.0f}; lower --loss-scale, or compute in bf16 or fp32",
                  model_.loss_scale)
            : "whatever it accumulates in; are the weights finite?";
    fail(ErrorKind::numeric,
         "the gradient of micro-batch {} is not finite (first non-finite parameter gradient: {}), {}", micro_batch + 1,
         model_.parameters.parameters()[parameter].name(), advice);
  }

  Replica model_;
  std::vector<std::vector<double>> sums_;
};

// The models that an audit compares, and what they have seen so far.
class Audit {
 public:
  Audit(const ModelFactory& make, const AuditOptions& options)
      : reference_(make, options.compute, options.loss_scale),
        in_f32_(make, options.compute, DType::f32, options.loss_scale),
        in_bf16_(make, options.compute, DType::bf16, options.loss_scale) {
    if (options.compute != DType::f32 || kernels::matmul_precision() != kernels::MatmulPrecision::f32)
      computed_in_f32_.emplace(make, DType::f32, 1.0f);
  }

  void add(const Batch& batch, const RandomKey& random, std::int64_t micro_batch) {
    reference_.add(batch, random, micro_batch);
    in_f32_.backpropagate(batch, random);
    in_bf16_.backpropagate(batch, random);
    if (computed_in_f32_) {
      const kernels::ProductsIn exact(kernels::MatmulPrecision::f32);
      computed_in_f32_->add(batch, random, micro_batch);
    }
  }

  AuditRow row(std::int64_t accumulation) const {
    AuditRow row{.accumulation = accumulation,
                 .f32 = reference_.error_of([this](std::size_t p) { return in_f32_.gradient(p); }),
                 .bf16 = reference_.error_of([this](std::size_t p) { return in_bf16_.gradient(p); }),
                 .computation = std::nullopt};
    if (computed_in_f32_)
      row.computation = computed_in_f32_->error_of([this](std::size_t p) { return reference_.sum(p); });
    return row;
  }

 private:
  ReferenceSum reference_;
  Replica in_f32_, in_bf16_;
  std::optional<ReferenceSum> computed_in_f32_;
};

Batch micro_batch_of(const Dataset& data, std::int64_t first_sample, const AuditOptions& options) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(options.micro_batch));
  std::iota(indices.begin(), indices.end(), first_sample);
  for (std::int64_t& index : indices) index %= data.size();
  const Batch batch = data.batch(indices, options.device);
  if (options.unequal_targets) mask_targets(batch, first_sample);
  return batch;
}

std::int64_t parse_accumulation(std::string_view part) {
  constexpr std::int64_t most = 1'000'000;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  if (error != std::errc() || end != part.data() + part.size() || value < 1 || value > most)
    fail(ErrorKind::usage, "--accumulations: '{}' is not a number of micro-batches in [1, {}]; give some as 1,8,64",
         part, most);
  return value;
}

}  // namespace

std::vector<std::int64_t> parse_accumulations(const std::string& text) {
  std::vector<std::int64_t> accumulations;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    accumulations.push_back(parse_accumulation(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  std::ranges::sort(accumulations);
  accumulations.erase(std::ranges::unique(accumulations).begin(), accumulations.end());
  return accumulations;
}

std::vector<AuditRow> audit_accumulation(const ModelFactory& make, const Dataset& data, const AuditOptions& options) {
  const std::vector<std::int64_t>& wanted = options.accumulations;
  check(!wanted.empty() && wanted.front() >= 1 && std::ranges::is_sorted(wanted, std::less_equal()),
        "audit_accumulation: accumulations must increase from at least 1");
  check(options.micro_batch >= 1, "audit_accumulation: a micro-batch of {} samples", options.micro_batch);
  check(kernels::is_power_of_two(options.loss_scale),
        "audit_accumulation: the loss scale must be a power of two, but is {}", options.loss_scale);
  Audit audit(make, options);
  std::vector<AuditRow> rows;
  for (std::int64_t k = 0; k < wanted.back(); ++k) {
    const std::int64_t first_sample = k * options.micro_batch;
    const RandomKey random{.seed = options.seed, .first_sample = static_cast<std::uint32_t>(first_sample)};
    audit.add(micro_batch_of(data, first_sample, options), random, k);
    if (k + 1 != wanted[rows.size()]) continue;
    rows.push_back(audit.row(k + 1));
    if (options.on_row) options.on_row(rows.back());
  }
  return rows;
}

}  // namespace accrue::train
