#include "train/fitting_micro_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <new>
#include <set>
#include <stdexcept>

#include "tests/testing/sweep.h"
#include "tests/testing/training_data.h"
#include "train/memory_advice.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

BatchPlan batch_of(std::int64_t global, std::int64_t micro) {
  return plan_batch({.micro = micro, .global = global, .ragged = true});
}

std::vector<std::int64_t> listed(const MicroBatchChoices& choices) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < choices.count(); ++i) all.push_back(choices[i]);
  return all;
}

TEST(MicroBatchChoices, AreTheDivisorsOfTheBatchUpToTheMicroBatch) {
  EXPECT_THAT(listed({batch_of(12, 12), false}), ElementsAre(1, 2, 3, 4, 6, 12));
  EXPECT_THAT(listed({batch_of(12, 4), false}), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(listed({batch_of(16, 16), false}), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(listed({batch_of(1, 1), false}), ElementsAre(1));
  const BatchPlan shared = plan_batch({.micro = 6, .global = 24, .world = 2});
  EXPECT_THAT(listed({shared, false}), ElementsAre(1, 2, 3, 4, 6));  // of the 12 that a device has
}

TEST(MicroBatchChoices, AreAllSizesWhereASplitMayBeRagged) {
  EXPECT_THAT(listed({batch_of(12, 5), true}), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(MicroBatchChoices(batch_of(largest_global_batch, largest_global_batch), true).count(),
            largest_global_batch);
}

RC_GTEST_PROP(MicroBatchChoices, TheLastThatFitsIsFound, ()) {
  const std::int64_t global = *rc::gen::inRange<std::int64_t>(1, 5000),
                     micro = *rc::gen::inRange<std::int64_t>(1, global + 1);
  const MicroBatchChoices choices(batch_of(global, micro), *rc::gen::arbitrary<bool>());
  const std::int64_t room = *rc::gen::inRange<std::int64_t>(0, micro + 2);
  std::set<std::int64_t> asked;
  const auto found = choices.last_that([&](std::int64_t size) {
    RC_ASSERT(asked.insert(size).second);
    return size <= room;
  });
  std::optional<std::int64_t> expected;
  for (const std::int64_t size : listed(choices))
    if (size <= room) expected = size;
  RC_ASSERT(found == expected);
  // Sizes double until one does not fit; then the choices between the last two are halved.
  RC_ASSERT(static_cast<double>(asked.size()) <=
            std::log2(static_cast<double>(micro)) + std::log2(static_cast<double>(choices.count())) + 4);
}

// A machine must not be driven into swapping to find out.
TEST(MicroBatchChoices, NothingFarBeyondWhatFitsIsTried) {
  for (const bool ragged : {false, true}) {
    std::int64_t largest = 0;
    const auto found = MicroBatchChoices(batch_of(largest_global_batch, largest_global_batch), ragged)
                           .last_that([&](std::int64_t size) {
                             largest = std::max(largest, size);
                             return size <= 1000;
                           });
    EXPECT_EQ(found, ragged ? 1000 : 512);
    EXPECT_LE(largest, 2 * 1000);
  }
}

// ---- on a model ----

class FittingMicroBatch : public ::testing::TestWithParam<Device> {
 protected:
  static constexpr std::int64_t global = 24;
  using Gpt = Training<nn::Gpt>;

  ~FittingMicroBatch() override { allocator.set_limit(0); }

  // The emulated device runs the windows of many searches: a model of one small layer there.
  static nn::GptConfig config() {
    nn::GptConfig config = small_gpt(0.1f);
    if (is_emulated(GetParam())) config.layers = config.heads = 1, config.width = 8;
    return config;
  }
  static Gpt new_training() { return Gpt(nn::Gpt(config()), GetParam(), {.max_norm = 1}); }
  FittingSearch search(std::int64_t micro = global, bool ragged = false) {
    return {.accumulator = training.accumulator,
            .loss = [this](Tape& tape, const Batch& b) { return training.model.loss(tape, b.inputs, b.targets); },
            .data = data,
            .validation = &data,
            .device = GetParam(),
            .batch = batch_of(global, micro),
            .ragged = ragged};
  }
  // What micro-batches of that size need beside the model.
  std::size_t need_of(std::int64_t micro) {
    Gpt scratch = new_training();
    const std::size_t live = allocator.stats().total.live;
    allocator.reset_peak();
    scratch.window(samples, cut_evenly(global, micro));
    return allocator.stats().total.peak - live;
  }
  // Leaves this share of what the largest micro-batch needs.
  void leave(double share) {
    const std::size_t need = need_of(global);
    allocator.release_cached();
    allocator.set_limit(allocator.stats().total.live + static_cast<std::size_t>(share * static_cast<double>(need)));
  }

  Samples samples = gpt_samples(config(), std::vector<std::int64_t>(global, 8), 1, GetParam());
  MemoryDataset data{samples};
  Gpt training = new_training();
  Allocator& allocator = Allocator::of(GetParam());
};

TEST_P(FittingMicroBatch, IsTheRunsOwnWhereThereIsEnough) {
  EXPECT_EQ(largest_fitting_micro_batch(search()), global);
  EXPECT_EQ(largest_fitting_micro_batch(search(6)), 6);
}

TEST_P(FittingMicroBatch, DependsOnTheLimit) {
  std::set<std::optional<std::int64_t>> found;
  std::optional<std::int64_t> previous;
  const std::vector<double> shares = is_emulated(GetParam())
                                         ? std::vector<double>{0.02, 0.3, 0.6, 1.5}
                                         : std::vector<double>{0.02, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.5};
  for (const double share : shares) {
    leave(share);
    const auto even = largest_fitting_micro_batch(search()), ragged = largest_fitting_micro_batch(search(global, true));
    EXPECT_GE(even, previous) << "more memory, and less fits";
    EXPECT_GE(ragged, even) << "of more sizes to choose from";
    previous = even;
    found.insert(even);
    allocator.set_limit(0);
  }
  EXPECT_GE(found.size(), shares.size() / 2 + 1) << "the limits have not told sizes apart";
  EXPECT_EQ(previous, global);
}

TEST_P(FittingMicroBatch, IsNoneWhereNotEvenOneFits) {
  allocator.release_cached();
  allocator.set_limit(allocator.stats().total.live + 64);
  EXPECT_EQ(largest_fitting_micro_batch(search()), std::nullopt);
}

TEST_P(FittingMicroBatch, LeavesNothingButTheAnswer) {
  Gpt undisturbed = new_training();
  undisturbed.window(samples.part(0, 8));
  training.window(samples.part(0, 8));
  const TrainingBits before = training.bits();
  const std::size_t live = allocator.stats().total.live;

  training.accumulator.open_window(3);
  training.micro_batch(samples.part(0, 8));
  leave(0.5);
  const auto fits = largest_fitting_micro_batch(search());
  allocator.set_limit(0);
  EXPECT_LT(fits, global);
  EXPECT_GE(fits, 1);
  for (const Parameter& parameter : training.parameters.parameters()) EXPECT_TRUE(parameter.fresh());
  EXPECT_EQ(allocator.stats().total.live, live);
  training.accumulator.drop_window();
  EXPECT_EQ(training.bits(), before);

  training.window(samples);
  undisturbed.window(samples);
  EXPECT_EQ(training.bits(), undisturbed.bits()) << "the next window is not the one that it would have been";
}

TEST_P(FittingMicroBatch, HasNoMoreSamplesThanTheDataUnlessWindowsGoOnWithTheBeginning) {
  std::int64_t most = 0;
  FittingSearch counted = search(global);
  counted.batch = batch_of(3 * global, 3 * global);
  counted.loss = [&, inner = counted.loss](Tape& tape, const Batch& batch) {
    most = std::max(most, batch.samples());
    return inner(tape, batch);
  };
  EXPECT_EQ(largest_fitting_micro_batch(counted), 3 * global);
  EXPECT_EQ(most, global);
  counted.partial = PartialWindow::carry;
  EXPECT_EQ(largest_fitting_micro_batch(counted), 3 * global);
  EXPECT_EQ(most, 3 * global);
}

TEST_P(FittingMicroBatch, OtherErrorsComeThrough) {
  FittingSearch broken = search();
  broken.loss = [](Tape&, const Batch&) -> nn::Loss { fail(ErrorKind::bad_data, "not of memory"); };
  EXPECT_EQ(error_message([&] { largest_fitting_micro_batch(broken); }, ErrorKind::bad_data), "not of memory");
}

// ---- as advice ----

TEST_P(FittingMicroBatch, IsNamedWithTheErrorThatItHelpsAgainst) {
  const auto advice = [&](const FittingSearch& on, Normalisation normalisation, const std::function<void()>& train) {
    return error_message([&] { run_within_memory(on, normalisation, {"--recompute"}, train); }, ErrorKind::memory);
  };
  const auto too_large = [&] {
    Tape tape;
    search().loss(tape, data.batch(std::vector<std::int64_t>(1000, 0), GetParam()));
  };
  leave(0.4);
  const std::int64_t even = largest_fitting_micro_batch(search()).value();
  const std::int64_t ragged = largest_fitting_micro_batch(search(global, true)).value();
  EXPECT_THAT(advice(search(), Normalisation::targets, too_large),
              AllOf(HasSubstr("out of memory on " + GetParam().to_string()), HasSubstr("memory limit"),
                    HasSubstr(fmt::format("; --micro-batch {} --accumulation {} fits and gives the same update", even,
                                          global / even))));
  EXPECT_THAT(advice(search(global, true), Normalisation::targets, too_large),
              HasSubstr(fmt::format("; --micro-batch {} --accumulation {} --global-batch {} --ragged fits", ragged,
                                    (global + ragged - 1) / ragged, global)));
  EXPECT_THAT(advice(search(), Normalisation::mean_over_micro_batches, too_large),
              AllOf(HasSubstr("mean over other micro-batches"), ::testing::Not(HasSubstr("same update"))));
  EXPECT_THAT(advice(search(1), Normalisation::targets, too_large), HasSubstr("micro-batches themselves fit"));
  EXPECT_THAT(advice(search(), Normalisation::targets, [] { throw std::bad_alloc(); }),
              HasSubstr("out of host memory"));
  EXPECT_THAT(advice(search(), Normalisation::targets, [] { throw std::length_error("vector"); }),
              HasSubstr("out of host memory"));
  FittingSearch broken = search();
  broken.loss = [](Tape&, const Batch&) -> nn::Loss { fail(ErrorKind::bad_data, "not of memory"); };
  EXPECT_THAT(advice(broken, Normalisation::targets, too_large),
              HasSubstr("; a smaller --micro-batch with a larger --accumulation"));
  allocator.set_limit(allocator.stats().total.live + 64);
  EXPECT_THAT(advice(search(), Normalisation::targets, too_large),
              HasSubstr("; not even --micro-batch 1 fits: only a smaller model, or --recompute, helps"));
}

TEST_P(FittingMicroBatch, ErrorsOfOtherKindsAndSuccessAreAsTheyWere) {
  bool trained = false;
  run_within_memory(search(), Normalisation::targets, {}, [&] { trained = true; });
  EXPECT_TRUE(trained);
  EXPECT_EQ(
      error_message(
          [&] { run_within_memory(search(), Normalisation::targets, {}, [] { fail(ErrorKind::stopped, "stopped"); }); },
          ErrorKind::stopped),
      "stopped");
}

INSTANTIATE_TEST_SUITE_P(Devices, FittingMicroBatch, ::testing::ValuesIn(devices()),
                         [](const ::testing::TestParamInfo<Device>& device) {
                           return std::string(device.param.kind == DeviceKind::cpu ? "Cpu" : "Cuda");
                         });

TEST(MemorySavings, AreWhatTheUserHasNotChosenYet) {
  TrainingOptions options;
  const Machine cpu{.device = Device::cpu(), .compute = DType::f32};
  EXPECT_THAT(memory_savings(options, cpu, "--recompute"), ElementsAre("--recompute", "--accumulate-dtype bf16"));
  const Machine gpu{.device = Device::cuda(), .compute = DType::f32};
  EXPECT_THAT(memory_savings(options, gpu, ""), ElementsAre("--precision bf16", "--accumulate-dtype bf16"));
  options.scaling.accumulate_dtype = "bf16";
  const Machine half{.device = Device::cuda(), .compute = DType::bf16};
  EXPECT_THAT(memory_savings(options, half, ""), ElementsAre());
}

}  // namespace
}  // namespace accrue::train
