// Contract 18: from the first micro-batch of a window to its step, the host does not wait for the device.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "core/cuda/check.cuh"
#include "core/cuda/device.cuh"
#include "nn/gpt.h"
#include "optim/adamw.h"
#include "tests/testing/needs_cuda.h"
#include "tests/testing/training.h"
#include "train/accumulator.h"

#ifdef ACCRUE_CUDA_EMULATED
#include "kernels/emulator/emulator.h"
#endif

namespace accrue::cuda::contract18_synchronisation_test {
namespace {

using namespace accrue::testing;

#ifdef ACCRUE_CUDA_EMULATED

template <class Work>
bool waits(Work&& work) {
  const std::uint64_t before = emulator::synchronisation_count();
  work();
  return emulator::synchronisation_count() != before;
}

#else

// What the stream waits for: until somebody opens it, or half a minute has passed.
struct Gate {
  std::atomic<bool> open = false, gave_up = false;

  static void CUDART_CB wait(void* gate) {
    auto& self = *static_cast<Gate*>(gate);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!self.open && !self.gave_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (std::chrono::steady_clock::now() > end) self.gave_up = true;
    }
  }
};

// With the stream shut, work that waits for it returns only once the gate gives up.
template <class Work>
bool waits(Work&& work) {
  Gate gate;
  check(cudaLaunchHostFunc(device(0).stream(), Gate::wait, &gate), "cudaLaunchHostFunc");
  work();
  gate.open = true;
  device(0).synchronize();
  return gate.gave_up;
}

#endif

// Training as the programs have it: batches from host memory, reports a window late.
class Contract18 : public NeedsCuda {
 protected:
  struct Host {
    std::vector<std::int32_t> inputs, targets;
  };

  void begin(DType compute, const train::AccumulatorOptions& options) {
    nn::initialize(model_, parameters_, 1, Device::cuda(), compute);
    optimizer_.emplace(parameters_);
    accumulator_.emplace(parameters_, *optimizer_, options);
  }
  std::optional<train::WindowReport> micro_batch() {
    const Shape shape{2, model_.config().context};
    const Tensor inputs = Tensor::from<std::int32_t>(tokens_, shape, Device::cuda()),
                 targets = Tensor::from<std::int32_t>(tokens_, shape, Device::cuda());
    Tape tape = accumulator_->begin_micro_batch(2);
    return accumulator_->accumulate(tape, model_.loss(tape, inputs, targets));
  }
  std::optional<train::WindowReport> window() {
    accumulator_->open_window(3);
    micro_batch();
    micro_batch();
    return micro_batch();
  }

  nn::Gpt model_{small_gpt(0.1f)};
  ParameterStore parameters_;
  std::optional<optim::AdamW> optimizer_;
  std::optional<train::Accumulator> accumulator_;
  std::vector<std::int32_t> tokens_ = random_integers(16, 29, 1);
};

TEST_F(Contract18, NobodyWaitsInAWindowAndAtItsBoundary) {
  begin(DType::f16, {.schedule = {.peak = 1e-3},
                     .max_norm = 1,
                     .scaling = {.dynamic = true},
                     .loss_scale = 256,
                     .reports = train::Reports::one_window_late});
  // The first windows take memory from the device and let cuBLASLt look for its algorithms.
  for (int warm_up = 0; warm_up < 2; ++warm_up) window();
  for (int i = 0; i < 2; ++i) {
    device(0).synchronize();
    std::optional<train::WindowReport> report;
    EXPECT_FALSE(waits([&] { report = window(); }));
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->window, 1 + i);  // the one before
    EXPECT_EQ(report->outcome, train::Outcome::updated);
  }
  EXPECT_EQ(accumulator_->flush()->window, 3);
}

// Micro-batches larger than a staging buffer, more of them than there are buffers at first.
TEST_F(Contract18, NobodyWaitsForInputData) {
  const std::vector<float> pictures(500 * 784, 1.5f);
  const auto upload = [&] {
    std::vector<Tensor> batches;
    for (int i = 0; i < 6; ++i) batches.push_back(Tensor::from<float>(pictures, {500, 784}, Device::cuda()));
    return batches;
  };
  upload();  // takes the memory of the device, and pinned memory
  device(0).synchronize();
  std::vector<Tensor> batches;
  EXPECT_FALSE(waits([&] { batches = upload(); }));
  for (const Tensor& batch : batches) EXPECT_EQ(batch.to_vector<float>(), pictures);
}

#ifdef ACCRUE_CUDA_EMULATED
// A boundary has no pass over the gradient or the weights beside the two that step_traffic_tests count: the check with
// its sums, the search that ends at once, the scalars before the step, AdamW with and without decay, the scalars after.
TEST_F(Contract18, ABoundaryIsSevenLaunches) {
  begin(DType::bf16, {.accumulation = 3, .schedule = {.peak = 1e-3}, .max_norm = 1});
  const auto launches_of = [&](auto&& work) {
    device(0).synchronize();
    const std::uint64_t before = emulator::launch_count();
    work();
    device(0).synchronize();
    return emulator::launch_count() - before;
  };
  micro_batch();
  const std::uint64_t inside = launches_of([&] { micro_batch(); }), last = launches_of([&] { micro_batch(); });
  EXPECT_EQ(last - inside, 7u);
}
#endif

// That the test can fail: reports at once are what it is about.
TEST_F(Contract18, ReportsAtOnceMakeTheHostWait) {
#ifdef ACCRUE_CUDA_EMULATED
  if (emulator::options().streams == emulator::Streams::eager)
    GTEST_SKIP() << "the device's work is done when its call returns, so that nobody ever waits";
#endif
  begin(DType::f32, {.reports = train::Reports::at_once});
  for (int warm_up = 0; warm_up < 2; ++warm_up) window();
  EXPECT_TRUE(waits([&] { window(); }));
}

}  // namespace
}  // namespace accrue::cuda::contract18_synchronisation_test
