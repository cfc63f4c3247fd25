// Every allocation of a training fails once: what comes out is an error, nothing is lost, and a second try gives the
// bits of a training that nothing disturbed.
#include <gtest/gtest.h>

#include "tests/faults/allocation_subject.h"
#include "tests/testing/training_data.h"
#include "train/evaluate.h"
#include "train/fitting_micro_batch.h"
#include "train/trainer.h"

namespace accrue::testing {
namespace {

struct Setup {
  const char* name;
  DeviceKind kind;
  FaultyMemory memory;
  SubjectOptions options;
};

// Host allocations on a GPU are for the most part those of its driver, or of the emulator: the CPU's stand for both.
const Setup setups[] = {
    {"CpuHost", DeviceKind::cpu, FaultyMemory::host, {}},
    {"CpuArena", DeviceKind::cpu, FaultyMemory::arena, {}},
    {"CpuHostRecomputing", DeviceKind::cpu, FaultyMemory::host, {.recompute = true}},
    {"CpuArenaAccumulatingInBf16", DeviceKind::cpu, FaultyMemory::arena, {.accumulate = DType::bf16}},
    {"CudaArena", DeviceKind::cuda, FaultyMemory::arena, {.reports = train::Reports::one_window_late}},
    {"CudaArenaInFp16", DeviceKind::cuda, FaultyMemory::arena, {.compute = DType::f16}},
};

class AllocationFaults : public ::testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    const std::vector<Device> present = devices();
    const auto found = std::ranges::find(present, GetParam().kind, &Device::kind);
    if (found == present.end()) GTEST_SKIP() << "there is no such device in this build or on this machine";
    device = *found;
    // What is made once in a process (a kernel's code, a library's handle) is made here; see AllocationFaultsAtFirst.
    expected.push_back(Subject(device, GetParam().options).bits());
    Subject undisturbed(device, GetParam().options);
    for (int i = 0; i < 2; ++i) {
      undisturbed.window();
      expected.push_back(undisturbed.bits());
    }
  }

  std::unique_ptr<Subject> subject() const { return std::make_unique<Subject>(device, GetParam().options); }
  template <class Prepare, class Operate, class Inspect>
  void everywhere(const char* operation, Prepare&& prepare, Operate&& operate, Inspect&& inspect) const {
    EXPECT_GT(fail_at_every_site(operation, GetParam().memory, device, prepare, operate, inspect), 0);
  }
  // A window that has failed before its end is dropped, has left nothing, and comes again.
  void expect_window_again(Subject& training, std::size_t windows_before) const {
    training.accumulator.drop_window();
    EXPECT_EQ(training.bits(), expected[windows_before]) << "a window that was never stepped has left something";
    training.window();
    EXPECT_EQ(training.bits(), expected[windows_before + 1]) << "the second try differs";
  }

  Device device;
  std::vector<Subject::Bits> expected;  // after so many windows
};

TEST_P(AllocationFaults, InAMicroBatchThatOverwritesGradients) {
  everywhere(
      "first micro-batch", [&] { return subject(); }, [](Subject& s) { s.micro_batch(0); },
      [&](Subject& s, bool) { expect_window_again(s, 0); });
}

TEST_P(AllocationFaults, InAMicroBatchThatAddsToGradients) {
  everywhere(
      "second micro-batch",
      [&] {
        auto made = subject();
        made->window();
        made->micro_batch(0);
        return made;
      },
      [](Subject& s) { s.micro_batch(1); }, [&](Subject& s, bool) { expect_window_again(s, 1); });
}

TEST_P(AllocationFaults, AtAWindowsBoundary) {
  everywhere(
      "last micro-batch and step",
      [&] {
        auto made = subject();
        made->window();
        made->micro_batches(0, Subject::accumulation - 1);
        return made;
      },
      [](Subject& s) { s.micro_batch(Subject::accumulation - 1); },
      [&](Subject& s, bool completed) {
        if (!completed) return expect_window_again(s, 1);
        EXPECT_EQ(s.bits(), expected[2]);
      });
}

TEST_P(AllocationFaults, WhileAModelIsMade) {
  const std::size_t live = Allocator::of(device).stats().total.live;
  everywhere(
      "making model, optimizer and accumulator", [] { return std::make_unique<std::unique_ptr<Subject>>(); },
      [&](std::unique_ptr<Subject>& made) { made = subject(); },
      [&](std::unique_ptr<Subject>& made, bool completed) {
        EXPECT_EQ(made != nullptr, completed);
        made.reset();
        EXPECT_EQ(Allocator::of(device).stats().total.live, live);
        EXPECT_EQ(subject()->bits(), expected[0]);
      });
}

TEST_P(AllocationFaults, InAnEvaluation) {
  const auto evaluation = [](Subject& s) { return train::evaluate(s.loss_function(), s.data, 5, s.device).loss; };
  const double loss = evaluation(*subject());
  everywhere(
      "evaluation", [&] { return subject(); }, [&](Subject& s) { EXPECT_EQ(evaluation(s), loss); },
      [&](Subject& s, bool) {
        EXPECT_EQ(s.bits(), expected[0]);
        EXPECT_EQ(evaluation(s), loss);
      });
}

// The search for what fits meets failures for a living: it may take one for a size that does not fit.
TEST_P(AllocationFaults, InTheSearchForWhatFits) {
  const auto search = [](Subject& s) {
    return train::largest_fitting_micro_batch(
        {.accumulator = s.accumulator,
         .loss = s.loss_function(),
         .data = s.data,
         .validation = &s.data,
         .device = s.device,
         .batch = {.micro = 1, .accumulation = 6, .global = 6, .world = 1, .last_micro = 1}});
  };
  everywhere(
      "search for a micro-batch that fits",
      [&] {
        auto made = subject();
        made->micro_batch(0);
        return made;
      },
      [&](Subject& s) { EXPECT_LE(search(s).value_or(0), 1); },
      [&](Subject& s, bool) {
        EXPECT_EQ(search(s), 1);
        expect_window_again(s, 0);
      });
}

// Wherever the trainer's loop is broken off, the windows behind it stand, and another loop goes on from there.
TEST_P(AllocationFaults, InATrainersLoop) {
  const auto train = [](Subject& s) {
    train::Trainer trainer(s.accumulator, s.loss_function(), s.data, &s.data,
                           {.batch = {.micro = 3, .accumulation = 2, .global = 5, .last_micro = 2},
                            .steps = 1,
                            .order = train::DataOrder::shuffled},
                           s.device);
    trainer.run();
  };
  const auto undisturbed = subject();
  train(*undisturbed);
  const Subject::Bits end = undisturbed->bits();
  everywhere(
      "trainer's loop of one update", [&] { return subject(); }, train,
      [&](Subject& s, bool completed) {
        if (!completed) s.accumulator.drop_window();
        train(s);
        EXPECT_EQ(s.bits(), end);
      });
}

INSTANTIATE_TEST_SUITE_P(Everywhere, AllocationFaults, ::testing::ValuesIn(setups),
                         [](const ::testing::TestParamInfo<Setup>& setup) { return setup.param.name; });

// ---- the allocator itself ----

TEST(AllocationFaultsInTheAllocator, GivingBackAsksForNoMemory) {
  Allocator& allocator = Allocator::of(Device::cpu());
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 64; ++i) blocks.push_back(allocator.allocate(64 + 640 * (i % 7), Category::activations));
  EXPECT_EQ(host_allocations_of([&] {
              for (std::size_t i = 0; i < blocks.size(); i += 2) allocator.deallocate(blocks[i]);
              for (std::size_t i = 1; i < blocks.size(); i += 2) allocator.deallocate(blocks[i]);
              allocator.release_cached();
            }),
            0);
}

TEST(AllocationFaultsInTheAllocator, LeaveItAsItWas) {
  Allocator& allocator = Allocator::of(Device::cpu());
  fail_at_every_site(
      "a block of a new segment", FaultyMemory::host, Device::cpu(),
      [&] {
        allocator.release_cached();
        return std::make_unique<std::size_t>(allocator.stats().reserved);
      },
      [&](std::size_t&) {
        allocator.deallocate(allocator.allocate(std::size_t{40} << 20, Category::activations));
        allocator.deallocate(allocator.allocate(64, Category::data));
      },
      [&](std::size_t& reserved, bool) {
        allocator.release_cached();
        EXPECT_EQ(allocator.stats().reserved, reserved) << "a segment is lost";
      });
}

}  // namespace
}  // namespace accrue::testing
