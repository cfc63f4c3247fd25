// Contract 14, 15 and 20: an overflow in every micro-batch and every tensor, put there on purpose.
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "nn/gpt.h"
#include "tests/testing/poison.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"
#include "train/overflow_search.h"

namespace accrue::testing::scripted_overflow {
namespace {

using train::Outcome;
using train::WindowReport;
using PoisonedGpt = Training<Poisoned<nn::Gpt>>;

constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t micro_batches = 3;

nn::GptConfig tiny(float dropout = 0) {
  return {.vocabulary = 11, .context = 4, .layers = 1, .heads = 2, .width = 8, .dropout = dropout};
}

const train::AccumulatorOptions patient{.schedule = {.peak = 1e-2}, .max_norm = 1, .patience = 1000};

// A GPT of which chosen micro-batches overflow where the script says so.
struct Scripted {
  explicit Scripted(Device device, const train::AccumulatorOptions& options = patient, float dropout = 0)
      : training(Poisoned(nn::Gpt(tiny(dropout))), device, options),
        samples(gpt_samples(tiny(), {4, 2, 4, 1, 0, 3}, 5, device)) {
    training.model.poison = [this](const Tape& tape) {
      const auto micro = static_cast<std::int64_t>(tape.context().random.first_sample) / 2;
      std::vector<Poison> now;
      for (const auto& [at, what] : script)
        if (at == micro) now.push_back(what);
      return now;
    };
  }

  WindowReport window(std::vector<std::pair<std::int64_t, Poison>> what = {}) {
    script = std::move(what);
    return training.window(samples, {2, 2, 2});
  }
  std::optional<train::Overflow> search(const WindowReport& report) {
    const auto again = [&](std::int64_t index) {
      return train::RepeatedMicroBatch{.samples = 2, .loss = [this, index](Tape& tape) {
                                         const Samples part = samples.part(2 * index, 2);
                                         return nn::cross_entropy(tape, training.model.forward(tape, part.inputs),
                                                                  part.targets);
                                       }};
    };
    return train::find_overflow(training.accumulator, report, again);
  }
  Parameter parameter(std::size_t index) { return training.parameters.parameters()[index]; }

  PoisonedGpt training;
  Samples samples;
  std::vector<std::pair<std::int64_t, Poison>> script;  // micro-batch, and what it gets
};

// On the CPU each tensor at each place, on a (here: emulated) device each tensor and each place.
bool is_tried(Device device, std::size_t tensor, std::int64_t micro) {
  return device.kind == DeviceKind::cpu || static_cast<std::int64_t>(tensor) % micro_batches == micro;
}

TEST(Contract20, EveryTensorInEveryMicroBatchIsFoundAndNamed) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    scripted.window();
    const TrainingBits before = scripted.training.bits();
    const std::size_t tensors = scripted.training.parameters.parameters().size();
    for (std::size_t tensor = 0; tensor < tensors; ++tensor) {
      const Parameter parameter = scripted.parameter(tensor);
      for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
        if (!is_tried(device, tensor, micro)) continue;
        SCOPED_TRACE(parameter.name() + " in micro-batch " + std::to_string(micro));
        const float value = std::array{infinity, -infinity, nan}[(tensor + static_cast<std::size_t>(micro)) % 3];
        const WindowReport report = scripted.window(
            {{micro, {.parameter = parameter, .value = value, .element = parameter.shape().numel() - 1}}});
        ASSERT_EQ(report.outcome, Outcome::skipped);
        ASSERT_TRUE(report.overflow.has_value());
        EXPECT_EQ(report.overflow->parameter, parameter.name());
        const auto found = scripted.search(report);
        ASSERT_TRUE(found.has_value());
        EXPECT_EQ(found->parameter, parameter.name());
        EXPECT_EQ(found->micro_batch, micro);
        ASSERT_EQ(scripted.training.bits(), before);
      }
    }
    EXPECT_EQ(scripted.window().outcome, Outcome::updated);
  }
}

TEST(Contract20, TheFirstOfSeveralIsNamed) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    const Parameter early = scripted.parameter(0), late = scripted.parameter(9);
    // In micro-batch 1 the one that the backward pass comes to first; what overflows later is nobody's beginning.
    const WindowReport report = scripted.window({{1, {.parameter = late, .value = infinity}},
                                                 {1, {.parameter = early, .value = nan}},
                                                 {2, {.parameter = scripted.parameter(12), .value = infinity}}});
    const auto found = scripted.search(report);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->parameter, late.name());
    EXPECT_EQ(found->micro_batch, 1);
  }
}

// Half precision in earnest: the gradient of the logits overflows, and with it the tied table's as the head, before
// that of anything behind. The table is also the first parameter of the forward pass, whose gradient inherits
// everything.
TEST(Contract20, ATiedTableIsToldFromWhatInheritsItsOverflow) {
  for (const Device device : devices()) {
    if (device.kind == DeviceKind::cpu) continue;
    train::AccumulatorOptions options = patient;
    options.loss_scale = 0x1p20f;
    Training<nn::Gpt> training(nn::Gpt(tiny()), device, options, optim::AdamWOptions{}, DType::f16);
    const Samples samples = gpt_samples(tiny(), {4, 2}, 5, device);
    const WindowReport report = training.window(samples);
    ASSERT_EQ(report.outcome, Outcome::skipped);
    const auto found = train::find_overflow(training.accumulator, report, [&](std::int64_t) {
      return train::RepeatedMicroBatch{.samples = 2, .loss = [&](Tape& tape) {
                                         return nn::cross_entropy(tape, training.model.forward(tape, samples.inputs),
                                                                  samples.targets);
                                       }};
    });
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->parameter, "wte.weight");
  }
}

// Two numbers that are finite, and their sum is not: the gradient overflows where they meet.
TEST(Contract20, ASumThatOverflowsIsFoundWhereItDoes) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    const Poison large{.parameter = scripted.parameter(3), .value = 3e38f};
    const WindowReport report = scripted.window({{0, large}, {2, large}});
    ASSERT_EQ(report.outcome, Outcome::skipped);
    EXPECT_EQ(scripted.search(report)->micro_batch, 2);
  }
}

TEST(Contract20, NothingIsNamedWhereNothingOverflowsAgain) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    WindowReport report = scripted.window({{1, {.parameter = scripted.parameter(3), .value = nan}}});
    scripted.script.clear();
    EXPECT_FALSE(scripted.search(report).has_value());
  }
}

TEST(Contract20, SearchingLeavesNoTrace) {
  for (const Device device : devices()) {
    Scripted searched(device, patient, 0.2f), plain(device, patient, 0.2f);
    for (Scripted* scripted : {&searched, &plain}) {
      const WindowReport report = scripted->window({{1, {.parameter = scripted->parameter(3), .value = nan}}});
      if (scripted == &searched) searched.search(report);
      scripted->window();
    }
    EXPECT_EQ(searched.training.bits(), plain.training.bits());
    EXPECT_EQ(searched.training.accumulator.counters().micro, plain.training.accumulator.counters().micro);
  }
}

TEST(Contract14, InfinitiesThatCancelAreStillAnOverflow) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    const TrainingBits before = scripted.training.bits();
    const Parameter parameter = scripted.parameter(2);
    const WindowReport report = scripted.window(
        {{0, {.parameter = parameter, .value = infinity}}, {1, {.parameter = parameter, .value = -infinity}}});
    EXPECT_EQ(report.outcome, Outcome::skipped);
    EXPECT_EQ(report.overflow->parameter, parameter.name());
    EXPECT_EQ(scripted.training.bits(), before);
  }
}

TEST(Contract14, InTheFirstTheLastAndAPartialWindow) {
  for (const Device device : devices()) {
    Scripted scripted(device);
    const Poison overflow{.parameter = scripted.parameter(4), .value = infinity};
    EXPECT_EQ(scripted.window({{2, overflow}}).outcome, Outcome::skipped);
    EXPECT_EQ(scripted.window().outcome, Outcome::updated);
    EXPECT_EQ(scripted.window({{0, overflow}}).outcome, Outcome::skipped);
    // Two of three micro-batches, the second of which overflows; then the data ends.
    scripted.script = {{1, overflow}};
    scripted.training.accumulator.open_window(3);
    for (const std::int64_t first : {0, 2}) scripted.training.micro_batch(scripted.samples.part(first, 2));
    const auto partial = scripted.training.accumulator.close_window();
    ASSERT_TRUE(partial.has_value());
    EXPECT_EQ(partial->outcome, Outcome::skipped);
    EXPECT_EQ(partial->micro_batches, 2);
    EXPECT_EQ(scripted.search(*partial)->micro_batch, 1);
    EXPECT_EQ(scripted.window().outcome, Outcome::updated);
  }
}

// A run that begins with what the other one had after its skipped window.
void continue_from(Scripted& fresh, const Scripted& other) {
  fresh.training.parameters.master().copy_from(other.training.parameters.master());
  const auto to = fresh.training.optimizer.state_tensors(), from = other.training.optimizer.state_tensors();
  for (std::size_t i = 0; i < to.size(); ++i) to[i].tensor.copy_from(from[i].tensor);
  fresh.training.accumulator.restore(other.training.accumulator.state());
}

TEST(Contract15, TheWindowAfterASkipIsThatOfAFreshRun) {
  train::AccumulatorOptions options = patient;
  options.scaling = {.dynamic = true, .interval = 2};
  options.loss_scale = 0x1p16f;
  for (const Device device : devices()) {
    Scripted skipping(device, options, 0.2f), fresh(device, options, 0.2f);
    skipping.window();
    EXPECT_EQ(skipping.window({{1, {.parameter = skipping.parameter(1), .value = nan}}}).outcome, Outcome::skipped);
    continue_from(fresh, skipping);
    for (int i = 0; i < 3; ++i) {
      const WindowReport a = skipping.window(), b = fresh.window();
      EXPECT_EQ(a.loss_scale, b.loss_scale);
      EXPECT_EQ(a.loss, b.loss);
      EXPECT_EQ(skipping.training.bits(), fresh.training.bits());
    }
  }
}

}  // namespace
}  // namespace accrue::testing::scripted_overflow
