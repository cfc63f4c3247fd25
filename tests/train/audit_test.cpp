#include "train/audit.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/cuda_devices.h"
#include "kernels/matmul_precision.h"
#include "nn/gpt.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "tests/train/files.h"
#include "train/verify.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseAccumulations, AreInIncreasingOrderAndEachOnce) {
  EXPECT_THAT(parse_accumulations("1,2,512"), ElementsAre(1, 2, 512));
  EXPECT_THAT(parse_accumulations("8,1,3,8,1"), ElementsAre(1, 3, 8));
  EXPECT_THAT(parse_accumulations("1000000"), ElementsAre(1'000'000));
}

TEST(ParseAccumulations, NamesThePartThatIsWrong) {
  for (const std::string part :
       {"", "0", "-1", "x", "2x", " 2", "2 ", "1.5", "1e3", "+4", "1000001", "99999999999999999999"}) {
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { parse_accumulations(part); }), HasSubstr("'" + part + "'")) << part;
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { parse_accumulations("1," + part); }), HasSubstr("'" + part + "'"))
        << part;
  }
}

constexpr std::uint64_t audited_seed = 11;

// A factory of models of one configuration and seed.
template <class Model>
ModelFactory models_of(const nn::GptConfig& config, Device device) {
  return [config, device](ParameterStore& parameters, DType compute, DType accumulate) -> LossFunction {
    const auto model = std::make_shared<Model>(config);
    nn::initialize(*model, parameters, audited_seed, device, compute, accumulate);
    return [model](Tape& tape, const Batch& batch) {
      return nn::cross_entropy(tape, model->forward(tape, batch.inputs), batch.targets);
    };
  };
}

// A GPT that uses each parameter once: what a backward pass adds to a gradient then is what it stores in a cleared one.
class UntiedGpt final : public nn::Module {
 public:
  explicit UntiedGpt(const nn::GptConfig& config) : config_(config), block_(config), norm_(config.width) {}

  void register_into(nn::Registry registry) override {
    const Initializer normal = Initializer::normal(0.5f);
    table_ = registry.parameter("table", {config_.vocabulary, config_.width}, normal);
    positions_ = registry.parameter("positions", {config_.context, config_.width}, normal);
    head_ = registry.parameter("head", {config_.width, config_.vocabulary}, normal);
    registry.module("block", block_);
    registry.module("norm", norm_);
  }
  Tensor forward(Tape& tape, const Tensor& ids) const override {
    const Tensor x = block_.forward(tape, nn::embedding(tape, ids, table_, positions_));
    return nn::linear(tape, norm_.forward(tape, x), head_);
  }

 private:
  nn::GptConfig config_;
  Parameter table_, positions_, head_;
  nn::GptBlock block_;
  nn::LayerNorm norm_;
};

// The micro-gradients of samples of their own, all parameters one after the other.
std::vector<std::vector<float>> micro_gradients_of(const ModelFactory& make, const Samples& samples, DType compute) {
  ParameterStore parameters;
  const LossFunction loss = make(parameters, compute, DType::f32);
  std::vector<std::vector<float>> gradients;
  for (std::int64_t s = 0; s < samples.count(); ++s) {
    const Samples sample = samples.part(s, 1);
    parameters.clear_gradients();
    Tape tape;
    tape.backward(loss(tape, {.inputs = sample.inputs, .targets = sample.targets}).terms);
    std::vector<float>& gradient = gradients.emplace_back();
    for (const Parameter& parameter : parameters.parameters()) {
      const std::vector<float> values = parameter.grad().to_vector<float>();
      gradient.insert(gradient.end(), values.begin(), values.end());
    }
  }
  return gradients;
}

std::vector<double> f64_sum(const std::vector<std::vector<float>>& gradients, std::size_t count) {
  std::vector<double> sum(gradients.front().size());
  for (std::size_t k = 0; k < count; ++k)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(gradients[k][i]);
  return sum;
}

// Rounded to bf16 after every addition.
std::vector<double> bf16_sum(const std::vector<std::vector<float>>& gradients, std::size_t count) {
  std::vector<bf16> sum(gradients.front().size());
  for (std::size_t k = 0; k < count; ++k)
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = bf16(static_cast<float>(sum[i]) + gradients[k][i]);
  std::vector<double> values;
  for (const bf16 value : sum) values.push_back(static_cast<double>(static_cast<float>(value)));
  return values;
}

double distance(const std::vector<double>& sum, const std::vector<double>& reference) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    difference += (sum[i] - reference[i]) * (sum[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  return std::sqrt(difference / norm);
}

// The sums of squares add up in another order: a few units in the last place of f64 for each of some thousand terms.
void expect_same_error(double error, double expected) { EXPECT_NEAR(error, expected, 1e-12 * expected); }

TEST(AuditAccumulation, TheErrorOfBf16IsThatOfALoopThatRoundsAfterEveryAddition) {
  for (const Device device : devices())
    for (const DType compute : activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(compute), device.to_string()));
      const Samples samples = gpt_samples(small_gpt(), unequal_counts(6), 3, device);
      const ModelFactory make = models_of<UntiedGpt>(small_gpt(), device);
      const auto rows = audit_accumulation(
          make, MemoryDataset(samples),
          {.accumulations = {1, 4, 6}, .device = device, .compute = compute, .unequal_targets = false});
      ASSERT_EQ(rows.size(), 3u);
      const auto gradients = micro_gradients_of(make, samples, compute);
      const auto exact = compute == DType::f32 ? gradients : micro_gradients_of(make, samples, DType::f32);
      for (const AuditRow& row : rows) {
        SCOPED_TRACE(row.accumulation);
        const auto k = static_cast<std::size_t>(row.accumulation);
        const std::vector<double> reference = f64_sum(gradients, k);
        expect_same_error(row.bf16.whole, distance(bf16_sum(gradients, k), reference));
        EXPECT_LE(row.f32.whole, 1e-6);
        ASSERT_EQ(row.computation.has_value(), compute != DType::f32);
        if (row.computation) expect_same_error(row.computation->whole, distance(reference, f64_sum(exact, k)));
      }
    }
}

// A few hundred micro-batches would take the emulated device minutes.
std::int64_t many_micro_batches(Device device) { return is_emulated(device) ? 16 : 256; }

TEST(AuditAccumulation, F32IsExactForOneMicroBatchAndWithinTheContractForManyWhereBf16IsNot) {
  for (const Device device : devices())
    for (const float dropout : {0.0f, 0.2f}) {
      SCOPED_TRACE(fmt::format("dropout {} on {}", dropout, device.to_string()));
      const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(16, 8), 1, device));
      const std::int64_t many = dropout > 0 ? 8 : many_micro_batches(device);
      const auto rows = audit_accumulation(models_of<nn::Gpt>(small_gpt(dropout), device), data,
                                           {.accumulations = {1, 2, 3, many}, .seed = 5, .device = device});
      ASSERT_EQ(rows.size(), 4u);
      EXPECT_EQ(rows[0].f32.whole, 0);
      EXPECT_EQ(rows[0].f32.worst, 0);
      for (const AuditRow& row : rows) {
        SCOPED_TRACE(row.accumulation);
        EXPECT_LE(row.f32.whole, 1e-6);
        // One rounding, at least: it is off by 1 / (2 sqrt(3)) of the unit roundoff in the mean of squares, or more.
        EXPECT_GT(row.bf16.whole, unit_roundoff(DType::bf16) / 5);
        EXPECT_LT(row.bf16.whole, 1);
        EXPECT_GE(row.bf16.worst, row.bf16.whole);
        EXPECT_FALSE(row.computation);
      }
      EXPECT_EQ(rows[3].accumulation, many);
      EXPECT_GT(rows[3].bf16.whole, 100 * rows[3].f32.whole);
    }
}

TEST(AuditAccumulation, NamesTheParameterThatIsFurthestOff) {
  const Device device = Device::cpu();
  const Samples samples = gpt_samples(small_gpt(), {8, 3, 7}, 3, device);
  const ModelFactory make = models_of<UntiedGpt>(small_gpt(), device);
  const auto rows = audit_accumulation(make, MemoryDataset(samples), {.accumulations = {3}, .unequal_targets = false});
  ParameterStore parameters;
  make(parameters, DType::f32, DType::f32);
  const auto gradients = micro_gradients_of(make, samples, DType::f32);
  const std::vector<double> sum = bf16_sum(gradients, 3), reference = f64_sum(gradients, 3);
  double worst = 0;
  std::string name;
  std::ptrdiff_t begin = 0;
  for (const Parameter& parameter : parameters.parameters()) {
    const std::ptrdiff_t end = begin + parameter.shape().numel();
    const double own =
        distance({sum.begin() + begin, sum.begin() + end}, {reference.begin() + begin, reference.begin() + end});
    if (own > worst) worst = own, name = parameter.name();
    begin = end;
  }
  EXPECT_EQ(rows.front().bf16.worst_parameter, name);
  expect_same_error(rows.front().bf16.worst, worst);
}

// A power of two changes no bit but those of exponents.
TEST(AuditAccumulation, InF32TheLossScaleChangesNothing) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 1, device));
    const auto with = [&](float loss_scale) {
      return audit_accumulation(models_of<nn::Gpt>(small_gpt(), device), data,
                                {.accumulations = {4}, .device = device, .loss_scale = loss_scale})
          .front();
    };
    const AuditRow plain = with(1), scaled = with(1024);
    EXPECT_EQ(scaled.f32.whole, plain.f32.whole) << device.to_string();
    EXPECT_EQ(scaled.bf16.whole, plain.bf16.whole) << device.to_string();
    EXPECT_EQ(scaled.bf16.worst_parameter, plain.bf16.worst_parameter);
  }
}

TEST(AuditAccumulation, TheLossScaleIsTakenOutBeforeTheCostOfComputingIsMeasured) {
  for (const Device device : devices())
    for (const DType compute : activation_dtypes(device)) {
      if (compute == DType::f32) continue;
      const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(2, 8), 1, device));
      const auto rows =
          audit_accumulation(models_of<nn::Gpt>(small_gpt(), device), data,
                             {.accumulations = {2}, .device = device, .compute = compute, .loss_scale = 1024});
      ASSERT_TRUE(rows.front().computation);
      EXPECT_GT(rows.front().computation->whole, unit_roundoff(compute) / 10);
      EXPECT_LT(rows.front().computation->whole, 20 * unit_roundoff(compute));
    }
}

TEST(AuditAccumulation, TheCostOfTf32IsMeasuredAndTheSettingKept) {
  const kernels::ProductsIn tf32(kernels::MatmulPrecision::tf32);
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(2, 8), 1, device));
    const auto rows =
        audit_accumulation(models_of<nn::Gpt>(small_gpt(), device), data, {.accumulations = {2}, .device = device});
    EXPECT_EQ(kernels::matmul_precision(), kernels::MatmulPrecision::tf32);
    ASSERT_TRUE(rows.front().computation);
    // tf32 rounds operands to 11 significant bits; the CPU knows no such thing.
    if (device.kind == DeviceKind::cpu) {
      EXPECT_EQ(rows.front().computation->whole, 0);
    } else if (cuda::compute_capability(device.index) >= 80) {
      EXPECT_GT(rows.front().computation->whole, 1e-5);
      EXPECT_LT(rows.front().computation->whole, 20 * 0x1p-11);
    }
  }
}

// Operands of 8 significant bits, on the CPU. What accumulating costs is measured in f32 all the same.
TEST(AuditAccumulation, TheCostOfProductsInBf16IsMeasured) {
  const kernels::ProductsIn bf16(kernels::MatmulPrecision::bf16);
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(2, 8), 1));
  const auto rows = audit_accumulation(models_of<nn::Gpt>(small_gpt(), Device::cpu()), data, {.accumulations = {2}});
  ASSERT_TRUE(rows.front().computation);
  EXPECT_GT(rows.front().computation->whole, unit_roundoff(DType::bf16) / 10);
  EXPECT_LT(rows.front().computation->whole, 20 * unit_roundoff(DType::bf16));
  EXPECT_LT(rows.front().f32.whole, split_equivalence_bound(2));
}

TEST(AuditAccumulation, AGradientThatOverflowsIsAnErrorThatSaysWhatHelps) {
  for (const Device device : devices()) {
    const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(4, 8), 1, device));
    const ModelFactory make = models_of<nn::Gpt>(small_gpt(), device);
    if (device.kind == DeviceKind::cuda) {
      const std::string message = error_of(ErrorKind::numeric, [&] {
        audit_accumulation(make, data,
                           {.accumulations = {4}, .device = device, .compute = DType::f16, .loss_scale = 0x1p24f});
      });
      EXPECT_THAT(message, AllOf(HasSubstr("micro-batch 1 "), HasSubstr("16777216"), HasSubstr("--loss-scale")));
    }
    const ModelFactory spoilt = [&](ParameterStore& parameters, DType compute, DType accumulate) {
      LossFunction loss = make(parameters, compute, accumulate);
      const Tensor weights = parameters.find("wpe.weight").master();
      std::vector<float> values = weights.to_vector<float>();
      values.back() = std::numeric_limits<float>::quiet_NaN();
      weights.copy_from_host(std::span<const float>(values));
      return loss;
    };
    EXPECT_THAT(error_of(ErrorKind::numeric,
                         [&] { audit_accumulation(spoilt, data, {.accumulations = {4}, .device = device}); }),
                AllOf(HasSubstr("micro-batch 1 "), HasSubstr("are the weights finite?")));
  }
}

TEST(AuditAccumulation, ShowsTheSamplesInOrderRepeatsThemAndReportsEachRowAtOnce) {
  const MemoryDataset data(gpt_samples(small_gpt(), std::vector<std::int64_t>(3, 8), 1));
  std::vector<std::int64_t> reported;
  std::vector<std::size_t> shown_until;
  const auto rows = audit_accumulation(models_of<nn::Gpt>(small_gpt(), Device::cpu()), data,
                                       {.accumulations = {1, 3}, .micro_batch = 2, .on_row = [&](const AuditRow& row) {
                                          reported.push_back(row.accumulation);
                                          shown_until.push_back(data.shown.size());
                                        }});
  EXPECT_THAT(data.shown, ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(reported, ElementsAre(1, 3));
  EXPECT_THAT(shown_until, ElementsAre(2, 6));
  EXPECT_EQ(rows.size(), 2u);
}

TEST(AuditAccumulation, RefusesOptionsThatMakeNoSense) {
  const MemoryDataset data(gpt_samples(small_gpt(), {8}, 1));
  const auto refused = [&](const AuditOptions& options) {
    return error_of(ErrorKind::internal,
                    [&] { audit_accumulation(models_of<nn::Gpt>(small_gpt(), Device::cpu()), data, options); });
  };
  for (const std::vector<std::int64_t>& accumulations : std::vector<std::vector<std::int64_t>>{{}, {0}, {2, 1}, {2, 2}})
    EXPECT_THAT(refused({.accumulations = accumulations}), HasSubstr("must increase"));
  EXPECT_THAT(refused({.accumulations = {1}, .micro_batch = 0}), HasSubstr("0 samples"));
  EXPECT_THAT(refused({.accumulations = {1}, .loss_scale = 3}), HasSubstr("power of two, but is 3"));
}

}  // namespace
}  // namespace accrue::train
