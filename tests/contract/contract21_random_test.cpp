// Contract 21 and 22: random numbers do not depend on the split, and recomputation changes no bit.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>

#include "nn/gpt.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::testing {
namespace {

using Gpt = Training<nn::Gpt>;

// Logits of the training-mode forward pass for window 0 of a fresh accumulator, cut as given.
std::vector<float> training_logits(const nn::GptConfig& config, const Samples& samples,
                                   const std::vector<std::int64_t>& cut, std::uint64_t seed, Device device) {
  Gpt training{nn::Gpt(config), device, {.accumulation = 1000, .seed = seed}};
  std::vector<float> logits;
  std::int64_t first = 0;
  for (const std::int64_t size : cut) {
    Tape tape = training.accumulator.begin_micro_batch(size);
    const auto more = training.model.forward(tape, samples.part(first, size).inputs).to_vector<float>();
    logits.insert(logits.end(), more.begin(), more.end());
    first += size;
  }
  return logits;
}

// The same masks: the same bits on the CPU. On a GPU the rounding of a row depends on the rows beside it, by about 1e-6
// of these logits; another mask changes them by as much as they are.
bool show_the_same_masks(const std::vector<float>& a, const std::vector<float>& b, Device device) {
  if (device.kind == DeviceKind::cpu) return a == b;
  return relative_error({a.begin(), a.end()}, {b.begin(), b.end()}) < 1e-5;
}

TEST(Contract21, EverySampleSeesTheSameMasksUnderAnySplit) {
  for (const Device device : devices()) {
    const nn::GptConfig config = small_gpt(0.3f);
    const Samples samples = gpt_samples(config, unequal_counts(6), 1, device);
    const auto whole = training_logits(config, samples, {6}, 5, device);
    const auto same = [&](const nn::GptConfig& with, const std::vector<std::int64_t>& cut, std::uint64_t seed) {
      return show_the_same_masks(training_logits(with, samples, cut, seed, device), whole, device);
    };
    EXPECT_TRUE(same(config, {3, 3}, 5));
    EXPECT_TRUE(same(config, {1, 5}, 5));
    EXPECT_TRUE(same(config, cut_evenly(6, 1), 5));
    EXPECT_FALSE(same(config, {6}, 6)) << "another seed, the same masks";
    EXPECT_FALSE(same(small_gpt(), {6}, 5)) << "dropout does nothing";
  }
}

RC_GTEST_PROP(Contract21, EverySampleSeesTheSameMasksUnderAnyRaggedSplit, ()) {
  const nn::GptConfig config = small_gpt(0.3f);
  const auto count = *rc::gen::inRange<std::int64_t>(1, 10);
  const Samples samples = gpt_samples(config, unequal_counts(count), 2);
  std::vector<std::int64_t> cut;
  for (std::int64_t left = count; left > 0; left -= cut.back())
    cut.push_back(*rc::gen::inRange<std::int64_t>(1, left + 1));
  RC_ASSERT(training_logits(config, samples, cut, 3, Device::cpu()) ==
            training_logits(config, samples, {count}, 3, Device::cpu()));
}

TEST(Contract21, SamplesAndWindowsHaveMasksOfTheirOwn) {
  for (const Device device : devices()) {
    const nn::Dropout layer(0.5f);
    Training<nn::Mlp> training{nn::Mlp({4, 3}), device, {.accumulation = 2}};
    const Tensor ones = tensor_of(std::vector<float>(2 * 64, 1.0f), {2, 64}, DType::f32, device);
    const auto mask = [&](Tape& tape) { return bits_of(layer.forward(tape, ones)); };
    const Samples filler = class_samples(2, 4, 3, 1, device);
    std::vector<std::vector<std::uint32_t>> rows;
    for (int micro = 0; micro < 4; ++micro) {  // two windows of two micro-batches of two samples
      Tape tape = training.accumulator.begin_micro_batch(2);
      const auto both = mask(tape);
      rows.emplace_back(both.begin(), both.begin() + 64);
      rows.emplace_back(both.begin() + 64, both.end());
      const nn::Loss loss = nn::cross_entropy(tape, training.model.forward(tape, filler.inputs), filler.targets);
      training.accumulator.accumulate(tape, loss);
    }
    // 64 fair bits are equal by chance once in 10^19.
    for (std::size_t a = 0; a < rows.size(); ++a)
      for (std::size_t b = 0; b < a; ++b) EXPECT_NE(rows[a], rows[b]) << "samples " << a << " and " << b;
  }
}

TEST(Contract21, AWindowThatIsDroppedAndTriedAgainSeesTheSameMasks) {
  for (const Device device : devices()) {
    const nn::GptConfig config = small_gpt(0.3f);
    const Samples samples = gpt_samples(config, unequal_counts(4), 3, device);
    Gpt retried{nn::Gpt(config), device, {.accumulation = 4}}, straight{nn::Gpt(config), device, {.accumulation = 2}};
    retried.micro_batch(samples.part(0, 2));
    retried.accumulator.drop_window();
    retried.window(samples, {1, 1, 1, 1});
    straight.window(samples, {2, 2});
    EXPECT_LE(relative_error(retried.gradient(), straight.gradient()), 1e-6);
  }
}

TEST(Contract21, AllDropoutsOfAModelDrawDifferentNumbers) {
  for (const Device device : devices()) {
    nn::Sequential model(nn::Dropout(0.5f), nn::Dropout(0.5f));
    ParameterStore parameters;
    model.register_into(nn::Registry(parameters));
    const Tensor ones = tensor_of(std::vector<float>(4096, 1.0f), {1, 4096}, DType::f32, device);
    Tape tape{MicroBatchContext{}};
    std::int64_t kept = 0;
    for (const double value : to_doubles(model.forward(tape, ones))) kept += value != 0;
    // Independent masks keep a quarter, the same mask twice would keep a half. Six standard deviations around 1024.
    EXPECT_NEAR(static_cast<double>(kept), 1024.0, 6 * std::sqrt(4096 * 0.25 * 0.75));
  }
}

struct Measured {
  std::vector<double> sums;
  TrainingBits bits;
  double loss;
  std::size_t peak_activations;
};

Measured measure(nn::GptConfig config, bool recompute, const std::vector<std::int64_t>& cut, Device device) {
  config.recompute = recompute;
  const Samples samples = gpt_samples(config, unequal_counts(8), 4, device);
  Gpt training{nn::Gpt(config), device};
  Allocator& allocator = Allocator::of(device);
  allocator.reset_peak();
  const double loss = training.window(samples, cut).loss;
  return {.sums = training.recorder.last_sums,
          .bits = training.bits(),
          .loss = loss,
          .peak_activations = allocator.stats()[Category::activations].peak};
}

TEST(Contract22, RecomputationChangesNoBitAndNeedsLessMemory) {
  for (const Device device : devices()) {
    for (const float dropout : {0.0f, 0.3f}) {
      nn::GptConfig config = small_gpt(dropout);
      config.layers = 4;
      for (const std::vector<std::int64_t>& cut : std::vector<std::vector<std::int64_t>>{{8}, {2, 2, 2, 2}}) {
        const Measured kept = measure(config, false, cut, device), recomputed = measure(config, true, cut, device);
        EXPECT_EQ(recomputed.sums, kept.sums);
        EXPECT_EQ(recomputed.bits, kept.bits);
        EXPECT_EQ(recomputed.loss, kept.loss);
        // One block of four is alive at a time.
        EXPECT_LT(static_cast<double>(recomputed.peak_activations), 0.6 * static_cast<double>(kept.peak_activations));
      }
    }
  }
}

TEST(Contract22, ResidualSumsAroundARecomputedPartKeepTheirGradients) {
  // y = x + f(x) + x with f recomputed: x's gradient has three contributions, from both sides of the recomputation.
  for (const Device device : devices()) {
    const auto gradient_of_x = [&](bool recomputed) {
      ParameterStore parameters;
      nn::Linear layer(5, 5);
      layer.register_into(nn::Registry(parameters));
      parameters.allocate(device, 1);
      Tape tape;
      const Tensor x = random_tensor({3, 5}, 2, DType::f32, device);
      std::vector<std::uint32_t> result;
      tape.record("input", x, [&result, node = Node(x)](Tape& t) { result = bits_of(t.grad(node)); });
      const auto function = [&](Tape& t, const Tensor& input) { return nn::gelu(t, layer.forward(t, input)); };
      const Tensor inside = recomputed ? nn::recompute(tape, x, function) : function(tape, x);
      const Tensor y = nn::add(tape, nn::add(tape, x, inside), x);
      const nn::Loss loss =
          nn::cross_entropy(tape, y, Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 4, 2}, {3}, device));
      tape.backward(loss.terms);
      const auto weight = bits_of(parameters.find("weight").grad());
      result.insert(result.end(), weight.begin(), weight.end());
      return result;
    };
    EXPECT_EQ(gradient_of_x(true), gradient_of_x(false));
  }
}

TEST(Contract22, CapturedTensorsKeepTheirGradients) {
  // A decoder reads the encoder's output, `memory`, inside of its recomputed layers and outside of them.
  for (const Device device : devices()) {
    const auto gradients = [&](bool recomputed) {
      const auto part = [recomputed](Tape& t, const Tensor& in, const std::function<Tensor(Tape&, const Tensor&)>& f) {
        return recomputed ? nn::recompute(t, in, f) : f(t, in);
      };
      nn::Linear encoder(5, 5), decoder(5, 5);
      ParameterStore parameters;
      nn::Registry registry(parameters);
      registry.module("encoder", encoder);
      registry.module("decoder", decoder);
      parameters.allocate(device, 1);
      Tape tape;
      const Tensor data = random_tensor({3, 5}, 2, DType::f32, device);
      const Tensor memory = encoder.forward(tape, data);
      const auto inner = [&](Tape& t, const Tensor& in) { return nn::add(t, nn::gelu(t, in), nn::gelu(t, memory)); };
      const auto outer = [&](Tape& t, const Tensor& in) {
        return nn::add(t, part(t, decoder.forward(t, in), inner), decoder.forward(t, memory));
      };
      const Tensor y = nn::add(tape, nn::add(tape, memory, part(tape, data, outer)), memory);
      const nn::Loss loss =
          nn::cross_entropy(tape, y, Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 4, 2}, {3}, device));
      tape.backward(loss.terms);
      return bits_of(parameters.gradients());
    };
    EXPECT_EQ(gradients(true), gradients(false));
  }
}

}  // namespace
}  // namespace accrue::testing
