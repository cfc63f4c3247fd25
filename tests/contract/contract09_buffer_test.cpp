// Contract 9-11: the buffer that gradients accumulate in.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "kernels/grad_accumulate.h"
#include "kernels/matmul.h"
#include "nn/gradients.h"
#include "nn/layers.h"
#include "optim/sgd.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::testing {
namespace {

using Gpt = Training<nn::Gpt>;

TEST(Contract09, TheMainGradientIsF32ForEveryComputeDtype) {
  for (const Device device : devices()) {
    for (const DType compute : float_dtypes) {
      ParameterStore parameters;
      const Parameter weight = parameters.add("weight", {3, 5}, Initializer::normal(1));
      parameters.allocate(device, 1, compute);
      EXPECT_EQ(weight.value().dtype(), compute);
      EXPECT_EQ(weight.grad().dtype(), DType::f32);
      EXPECT_EQ(parameters.gradients().dtype(), DType::f32);
      EXPECT_EQ(weight.master().dtype(), DType::f32);
    }
  }
}

// A sum of 512 gradients with a mean well above their spread, the case in which a bf16 sum has been measured 26 % off.
TEST(Contract09, SummingHalfPrecisionGradientsLosesNothingBeyondF32) {
  for (const Device device : devices()) {
    constexpr std::int64_t count = 1000, micro_batches = 512;
    for (const DType dtype : float_dtypes) {
      const Tensor sum = Tensor::empty({count}, DType::f32, device);
      std::vector<double> expected(count), magnitude(count);
      std::vector<float> naive(count);  // what accumulating in bf16 would give
      for (std::int64_t k = 0; k < micro_batches; ++k) {
        const Tensor incoming = random_tensor({count}, static_cast<std::uint64_t>(k), dtype, device, 10, 1);
        kernels::grad_accumulate(
            {.acc = {.tensor = sum, .write = k == 0 ? Write::overwrite : Write::accumulate}, .incoming = incoming});
        const std::vector<double> values = to_doubles(incoming);
        for (std::size_t i = 0; i < values.size(); ++i) {
          expected[i] += values[i];
          magnitude[i] += std::abs(values[i]);
          naive[i] = static_cast<float>(bf16(naive[i] + static_cast<float>(values[i])));
        }
      }
      std::vector<double> bounds(count);
      for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] = micro_batches * u * magnitude[i];
      EXPECT_TRUE(within(sum, expected, bounds)) << name_of(dtype);
      EXPECT_LE(relative_error(to_doubles(sum), expected), 1e-6) << name_of(dtype);
      EXPECT_GT(relative_error(std::vector<double>(naive.begin(), naive.end()), expected), 0.1);
    }
  }
}

// One tensor, to which every micro-batch contributes what it is given.
class Constant final : public nn::Module {
 public:
  void register_into(nn::Registry registry) override {
    weight = registry.parameter("weight", {1000}, Initializer::zeros());
  }
  Tensor forward(Tape& tape, const Tensor& gradient) const override {
    const Tensor loss = Tensor::zeros({1}, DType::f32, gradient.device());
    tape.record("constant", loss, [gradient, parameter = weight](Tape& t) {
      kernels::grad_accumulate({.acc = t.grad_slot(parameter), .incoming = gradient});
    });
    return loss;
  }

  Parameter weight;
};

// The same sum through the tape: what --accumulate-dtype bf16 costs is this, and f32 costs nothing.
TEST(Contract09, AccumulatingInBf16IsOptInAndLosesATenthWhereF32LosesNothing) {
  for (const Device device : devices()) {
    const auto error_of = [&](DType accumulate) {
      Constant model;
      ParameterStore parameters;
      nn::initialize(model, parameters, 1, device, DType::f32, accumulate);
      EXPECT_EQ(model.weight.grad().dtype(), accumulate);
      std::vector<double> expected(1000);
      for (std::uint64_t k = 0; k < 512; ++k) {
        const Tensor gradient = random_tensor({1000}, k, DType::f32, device, 10, 1);
        Tape tape;
        tape.backward(model.forward(tape, gradient));
        const std::vector<double> values = to_doubles(gradient);
        for (std::size_t i = 0; i < values.size(); ++i) expected[i] += values[i];
      }
      return relative_error(to_doubles(model.weight.grad()), expected);
    };
    EXPECT_LE(error_of(DType::f32), 1e-6) << device.to_string();
    EXPECT_GT(error_of(DType::bf16), 0.1) << device.to_string();
  }
}

// A GPT whose parts can be seen between the head and the blocks: there a tied table has the head's contribution alone.
class TiedGpt final : public nn::Module {
 public:
  explicit TiedGpt(const nn::GptConfig& config) : config_(config), block_(config), norm_(config.width) {}

  void register_into(nn::Registry registry) override {
    table_ = registry.parameter("table", {config_.vocabulary, config_.width}, Initializer::normal(0.5f));
    positions_ = registry.parameter("positions", {config_.context, config_.width}, Initializer::normal(0.5f));
    registry.module("block", block_);
    registry.module("norm", norm_);
  }
  Tensor forward(Tape& tape, const Tensor& ids) const override {
    const Tensor hidden = norm_.forward(tape, block_.forward(tape, nn::embedding(tape, ids, table_, positions_)));
    const Tensor seen = hidden.clone();
    tape.record("seen", seen, [seen_node = Node(seen), hidden_node = Node(hidden), look = between](Tape& t) {
      if (look) look();
      t.contribute(hidden_node, t.take_grad(seen_node), nn::add_gradient);
    });
    return nn::linear(tape, seen, table_, {}, nn::WeightLayout::out_in);
  }
  const Parameter& table() const { return table_; }

  std::function<void()> between;

 private:
  nn::GptConfig config_;
  Parameter table_, positions_;
  nn::GptBlock block_;
  nn::LayerNorm norm_;
};

// The gradients of TiedGpt, one micro-batch at a time, in f32.
class MicroGradients {
 public:
  MicroGradients(Device device, DType compute) : model_(small_gpt()) {
    nn::initialize(model_, parameters_, 11, device, compute);
    // The embedding is the last to contribute to the table: fresh again, the table then holds that contribution alone.
    model_.between = [this] {
      head_ = model_.table().grad().to_vector<float>();
      model_.table().discard_gradient();
    };
  }
  // In the order in which they reach the gradient: the contributions of each parameter's uses.
  std::vector<std::vector<std::vector<float>>> of(const Samples& samples) {
    parameters_.clear_gradients();
    Tape tape;
    const nn::Loss loss = nn::cross_entropy(tape, model_.forward(tape, samples.inputs), samples.targets);
    tape.backward(loss.terms);
    std::vector<std::vector<std::vector<float>>> all;
    for (const Parameter& parameter : parameters_.parameters()) {
      auto& uses = all.emplace_back();
      if (parameter == model_.table()) uses.push_back(head_);
      uses.push_back(parameter.grad().to_vector<float>());
    }
    return all;
  }

 private:
  TiedGpt model_;
  ParameterStore parameters_;
  std::vector<float> head_;
};

// Parameter by parameter: every contribution is added in f32 and the sum rounded.
std::vector<double> rounded_each_time(MicroGradients& micro_gradients, const Samples& samples,
                                      const std::vector<std::int64_t>& cut) {
  std::vector<std::vector<bf16>> sums;
  std::int64_t first = 0;
  for (const std::int64_t size : cut) {
    const auto gradients = micro_gradients.of(samples.part(first, size));
    sums.resize(gradients.size());
    for (std::size_t p = 0; p < gradients.size(); ++p) {
      sums[p].resize(gradients[p].front().size(), bf16(0));
      for (const std::vector<float>& use : gradients[p])
        for (std::size_t i = 0; i < use.size(); ++i) sums[p][i] = bf16(static_cast<float>(sums[p][i]) + use[i]);
    }
    first += size;
  }
  std::vector<double> all;
  for (const auto& sum : sums)
    for (const bf16 value : sum) all.push_back(static_cast<double>(static_cast<float>(value)));
  return all;
}

TEST(Contract09, AWindowInBf16IsTheLoopThatRoundsAfterEveryAdditionBitForBit) {
  for (const Device device : devices())
    for (const DType compute : activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(compute), device.to_string()));
      const Samples samples = gpt_samples(small_gpt(), unequal_counts(12), 3, device);
      const std::vector<std::int64_t> cut = {2, 1, 3, 2, 2, 2};
      const train::AccumulatorOptions options{.schedule = {.peak = 1e-2}, .max_norm = 1.0};
      Training<TiedGpt> training(TiedGpt(small_gpt()), device, options, optim::AdamWOptions{}, compute, DType::bf16);
      const auto before = bits_of(training.parameters.master());
      const train::WindowReport report = training.window(samples, cut);
      MicroGradients micro_gradients(device, compute);
      const std::vector<double> expected = rounded_each_time(micro_gradients, samples, cut);
      EXPECT_EQ(training.recorder.last_sums, expected);
      // The step saw this gradient, and ran.
      EXPECT_EQ(report.outcome, train::Outcome::updated);
      double squares = 0;
      for (const double value : training.gradient()) squares += value * value;
      EXPECT_NEAR(report.grad_norm, std::sqrt(squares), 4 * u * std::sqrt(squares));
      EXPECT_NE(bits_of(training.parameters.master()), before);
      // A second window begins anew.
      training.window(samples, cut);
      EXPECT_EQ(training.accumulator.counters().update, 2);
    }
}

TEST(Contract09, RecomputingChangesNoBitOfABf16Gradient) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(6), 3, device);
    nn::GptConfig recomputing = small_gpt();
    recomputing.recompute = true;
    Gpt kept{nn::Gpt(small_gpt()), device, {}, optim::AdamWOptions{}, DType::f32, DType::bf16};
    Gpt recomputed{nn::Gpt(recomputing), device, {}, optim::AdamWOptions{}, DType::f32, DType::bf16};
    kept.window(samples, {2, 3, 1});
    recomputed.window(samples, {2, 3, 1});
    EXPECT_EQ(recomputed.recorder.last_sums, kept.recorder.last_sums);
    EXPECT_EQ(recomputed.bits(), kept.bits());
  }
}

TEST(Contract09, WeightGradientProductsAreWrittenInPlaceOverwritingThenAdding) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({7, 33}, 1, DType::f32, device), dy = random_tensor({7, 20}, 2, DType::f32, device);
    const std::vector<float> nan(33 * 20, std::numeric_limits<float>::quiet_NaN());
    const Tensor gradient = tensor_of(nan, {33, 20}, DType::f32, device);
    kernels::matmul({.out = gradient, .a = x, .b = dy, .transpose_a = true, .write = Write::overwrite});
    const std::vector<double> once = to_doubles(gradient);
    kernels::matmul({.out = gradient, .a = x, .b = dy, .transpose_a = true, .write = Write::accumulate});
    std::vector<double> twice = once;
    for (double& value : twice) value *= 2;
    if (adds_whole_products(device)) {
      EXPECT_EQ(to_doubles(gradient), twice);  // doubling is exact in binary
    } else {
      EXPECT_LE(relative_error(to_doubles(gradient), twice), 1e-6);
    }
  }
}

TEST(Contract10, ANanInTheGradientBufferDoesNotSurviveTheFirstTouch) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(6), 3, device);
    Gpt clean{nn::Gpt(small_gpt()), device}, dirty{nn::Gpt(small_gpt()), device};
    for (const Parameter& parameter : dirty.parameters.parameters()) {
      const std::vector<float> nan(static_cast<std::size_t>(parameter.shape().numel()),
                                   std::numeric_limits<float>::quiet_NaN());
      parameter.grad().copy_from_host(std::span<const float>(nan));
    }
    clean.window(samples, {2, 2, 2});
    const auto report = dirty.window(samples, {2, 2, 2});
    EXPECT_EQ(report.outcome, train::Outcome::updated);
    EXPECT_EQ(dirty.recorder.last_sums, clean.recorder.last_sums);
    EXPECT_EQ(dirty.bits(), clean.bits());
  }
}

TEST(Contract10, NothingOfAWindowIsLeftInTheNext) {
  for (const Device device : devices()) {
    const Samples first = gpt_samples(small_gpt(), unequal_counts(6), 4, device);
    const Samples second = gpt_samples(small_gpt(), unequal_counts(6), 5, device);
    const train::AccumulatorOptions still{.schedule = {.peak = 0}};  // the weights stay where they are
    Gpt after{nn::Gpt(small_gpt()), device, still}, alone{nn::Gpt(small_gpt()), device, still};
    after.window(first, {3, 3});
    after.window(second, {3, 3});
    alone.window(second, {3, 3});
    EXPECT_EQ(after.recorder.last_sums, alone.recorder.last_sums);
  }
}

// A model of which each micro-batch uses one of two halves.
class Forked final : public nn::Module {
 public:
  void register_into(nn::Registry registry) override {
    registry.module("left", left_);
    registry.module("right", right_);
  }
  Tensor forward(Tape& tape, const Tensor& x) const override { return (use_left ? left_ : right_).forward(tape, x); }

  bool use_left = true;

 private:
  nn::Linear left_{4, 3}, right_{4, 3};
};

TEST(Contract10, AParameterThatAWindowDoesNotTouchReadsAsZero) {
  for (const Device device : devices()) {
    const train::AccumulatorOptions options{.schedule = {.peak = 0.5}};
    Training<Forked, optim::Sgd> training(Forked(), device, options, optim::SgdOptions{});
    const auto weights = [&](std::string_view name) { return bits_of(training.parameters.find(name).master()); };
    const auto gradient = [&](std::string_view name) { return to_doubles(training.parameters.find(name).grad()); };
    training.window(class_samples(4, 4, 3, 6, device));
    const auto left = weights("left.weight"), right = weights("right.weight");
    EXPECT_EQ(gradient("right.weight"), std::vector<double>(12, 0.0));  // never touched so far
    EXPECT_NE(gradient("left.weight"), std::vector<double>(12, 0.0));

    training.model.use_left = false;
    const auto report = training.window(class_samples(4, 4, 3, 7, device), {2, 2});
    EXPECT_EQ(gradient("left.weight"), std::vector<double>(12, 0.0));
    EXPECT_EQ(gradient("left.bias"), std::vector<double>(3, 0.0));
    EXPECT_EQ(weights("left.weight"), left) << "the gradient of the first window was applied a second time";
    EXPECT_NE(weights("right.weight"), right);
    // The norm is of this window's gradient alone.
    double squares = 0;
    for (const double value : training.gradient()) squares += value * value;
    EXPECT_NEAR(report.grad_norm, std::sqrt(squares), 4 * u * std::sqrt(squares));
  }
}

// The head and the embedding as two parameters, to see what each use of a tied table contributes.
class Language final : public nn::Module {
 public:
  enum class Head { tied, separate };
  explicit Language(Head head) : head_(head) {}

  void register_into(nn::Registry registry) override {
    table_ = registry.parameter("table", {11, 6}, Initializer::normal(0.5f));
    head_table_ = head_ == Head::tied ? table_ : registry.parameter("head", {11, 6}, Initializer::normal(0.5f));
  }
  Tensor forward(Tape& tape, const Tensor& ids) const override {
    return nn::linear(tape, nn::embedding(tape, ids, table_), head_table_, {}, nn::WeightLayout::out_in);
  }

 private:
  Head head_;
  Parameter table_, head_table_;
};

TEST(Contract11, ATiedTableAccumulatesEveryUseExactlyOnceAMicroBatch) {
  for (const Device device : devices()) {
    const Samples samples{.inputs = Tensor::from<std::int32_t>(random_integers(6 * 5, 11, 1), {6, 5}, device),
                          .targets = Tensor::from<std::int32_t>(random_integers(6 * 5, 11, 2), {6, 5}, device)};
    for (const std::vector<std::int64_t>& cut : std::vector<std::vector<std::int64_t>>{{6}, {2, 2, 2}, {1, 5}}) {
      Training<Language> tied(Language(Language::Head::tied), device),
          separate(Language(Language::Head::separate), device);
      separate.parameters.find("head").master().copy_from(separate.parameters.find("table").master());
      tied.window(samples, cut);
      separate.window(samples, cut);
      const std::vector<double>& both = separate.recorder.last_sums;
      std::vector<double> expected(66), bounds(66);
      for (std::size_t i = 0; i < 66; ++i) {
        expected[i] = both[i] + both[66 + i];
        // The same terms, added into one buffer instead of two: 30 rows and 6 joins, of terms whose absolute values sum
        // to at most 30 rows * (|dy| <= 1) * (|x| <= 2 for head, |w| <= 2 summed over 11 logits for the embedding).
        bounds[i] = 36 * u * 30 * (2 + 11 * 2);
      }
      EXPECT_TRUE(within(tied.recorder.last_sums, expected, bounds)) << cut.size() << " micro-batches";
      // Each use counts: leaving one out, or counting it twice, would be far outside the bound.
      EXPECT_GT(relative_error(std::vector<double>(both.begin(), both.begin() + 66), expected), 0.1);
      EXPECT_GT(relative_error(std::vector<double>(both.begin() + 66, both.end()), expected), 0.1);
    }
  }
}

TEST(Contract11, AccumulatingAMicroBatchTwiceIsExactlyTwiceItsGradient) {
  for (const Device device : devices()) {
    const Samples samples{.inputs = Tensor::from<std::int32_t>(random_integers(6 * 5, 11, 1), {6, 5}, device),
                          .targets = Tensor::from<std::int32_t>(random_integers(6 * 5, 11, 2), {6, 5}, device)};
    Training<Language> once(Language(Language::Head::separate), device),
        twice(Language(Language::Head::separate), device, {.accumulation = 2});
    once.window(samples);
    twice.micro_batch(samples);
    twice.micro_batch(samples);
    std::vector<double> expected = once.recorder.last_sums;
    for (double& value : expected) value *= 2;
    if (adds_whole_products(device)) {
      EXPECT_EQ(twice.recorder.last_sums, expected);
    } else {
      EXPECT_LE(relative_error(twice.recorder.last_sums, expected), 1e-6);
    }
  }
}

TEST(Contract11, AccumulatingAGptMicroBatchTwiceIsExactlyTwiceForEveryParameterUsedOnce) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(4), 8, device);
    Gpt once{nn::Gpt(small_gpt()), device}, twice{nn::Gpt(small_gpt()), device, {.accumulation = 2}};
    once.window(samples);
    twice.micro_batch(samples);
    twice.micro_batch(samples);
    std::size_t offset = 0;
    for (const Parameter& parameter : once.parameters.parameters()) {
      const auto count = static_cast<std::size_t>(parameter.shape().numel());
      for (std::size_t i = offset; i < offset + count; ++i) {
        const double expected = 2 * once.recorder.last_sums[i], actual = twice.recorder.last_sums[i];
        if (parameter.name() == "wte.weight" || !adds_whole_products(device)) {
          // Two uses, a and b: ((a + b) + a) + b has three roundings, of partial sums of at most 2|a| + 2|b|; no
          // gradient element of this small model exceeds 8 in either use.
          ASSERT_NEAR(actual, expected, 3 * u * 32) << parameter.name();
        } else {
          ASSERT_EQ(actual, expected) << parameter.name() << " element " << i - offset;
        }
      }
      offset += count;
    }
  }
}

}  // namespace
}  // namespace accrue::testing
