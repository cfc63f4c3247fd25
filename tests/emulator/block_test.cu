// Threads, blocks, barriers and shared memory.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "tests/emulator/kernel_run.h"

namespace accrue::emulator {
namespace {

__global__ void write_linear_index(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += static_cast<int>(block * threads + thread);
  if (thread != thread_in_block() || thread % 32 != lane()) __trap();
}

TEST(EmulatedBlock, EveryThreadOfEveryBlockRunsOnceInEveryOrder) {
  in_every_order([] {
    std::vector<int> expected(2 * 3 * 4 * 5 * 7 * 2);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(output_of(write_linear_index, {dim3(2, 3, 4), dim3(5, 7, 2)}, expected.size(), 0), expected);
  });
}

__global__ void note_turn(int* out, int* turns) { out[(*turns)++] = static_cast<int>(blockIdx.x * 64 + threadIdx.x); }

std::vector<int> turns_of(Order order, std::uint64_t seed) {
  const OptionsGuard guard;
  options().order = order;
  options().seed = seed;
  const DeviceArray<int> turns(std::vector<int>{0});
  return output_of(note_turn, {dim3(16), dim3(64)}, 16 * 64, 0, turns.data());
}

TEST(EmulatedBlock, OrdersAreWhatTheyAreCalled) {
  std::vector<int> forward(16 * 64);
  std::iota(forward.begin(), forward.end(), 0);
  EXPECT_EQ(turns_of(Order::forward, 1), forward);
  EXPECT_EQ(turns_of(Order::reverse, 1), std::vector<int>(forward.rbegin(), forward.rend()));
  const std::vector<int> random = turns_of(Order::random, 1);
  EXPECT_NE(random, forward);
  EXPECT_EQ(std::set<int>(random.begin(), random.end()).size(), forward.size());
  EXPECT_NE(turns_of(Order::random, 2), random);
}

// Each step reads what another thread has written in the step before.
__global__ void rotate(int* out, int steps) {
  __shared__ int ring[2][96];
  const unsigned t = threadIdx.x;
  ring[0][t] = static_cast<int>(t);
  for (int step = 0; step < steps; ++step) {
    __syncthreads();
    ring[(step + 1) % 2][t] = ring[step % 2][(t + 1) % 96];
  }
  out[blockIdx.x * 96 + t] = ring[steps % 2][t];
}

TEST(EmulatedBlock, BarriersKeepTheStepsOfABlockApart) {
  in_every_order([] {
    const std::vector<int> out = output_of(rotate, {dim3(3), dim3(96)}, 3 * 96, 0, 50);
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<int>((i + 50) % 96));
  });
}

__global__ void vote(int* out, unsigned yes) {
  const int own = threadIdx.x < yes;
  out[threadIdx.x * 3 + 0] = __syncthreads_count(own);
  out[threadIdx.x * 3 + 1] = __syncthreads_and(own);
  out[threadIdx.x * 3 + 2] = __syncthreads_or(own);
}

TEST(EmulatedBlock, BarriersCountAndCombineVotes) {
  in_every_order([] {
    for (const unsigned yes : {0u, 1u, 40u, 70u}) {
      const std::vector<int> out = output_of(vote, {dim3(1), dim3(70)}, 3 * 70, -1, yes);
      for (std::size_t t = 0; t < 70; ++t) {
        EXPECT_EQ(out[t * 3], static_cast<int>(yes));
        EXPECT_EQ(out[t * 3 + 1], yes == 70 ? 1 : 0);
        EXPECT_EQ(out[t * 3 + 2], yes != 0 ? 1 : 0);
      }
    }
  });
}

__global__ void half_leaves(int* out) {
  if (threadIdx.x >= 48) return;
  out[threadIdx.x] = __syncthreads_count(1);
}

TEST(EmulatedBlock, BarriersDoNotWaitForThreadsThatHaveLeft) {
  in_every_order([] {
    const std::vector<int> out = output_of(half_leaves, {dim3(2), dim3(96)}, 96, 0);
    for (std::size_t t = 0; t < 96; ++t) EXPECT_EQ(out[t], t < 48 ? 48 : 0);
  });
}

template <class T>
__global__ void look_at_shared(unsigned* out) {
  __shared__ T variable[8];
  const auto* dynamic = static_cast<const unsigned*>(dynamic_shared());
  if (threadIdx.x == 0) {
    out[blockIdx.x * 2] = reinterpret_cast<const unsigned&>(variable[7]);
    out[blockIdx.x * 2 + 1] = dynamic[3];
  }
  __syncthreads();
  variable[threadIdx.x % 8] = T{};
  static_cast<unsigned*>(dynamic_shared())[threadIdx.x % 4] = 0;
}

TEST(EmulatedBlock, SharedMemoryIsPoisonedForEachBlock) {
  for (int launch = 0; launch < 2; ++launch) {
    for (const unsigned word : output_of(look_at_shared<float>, {dim3(3), dim3(32), 16}, 6, 0u)) {
      EXPECT_EQ(word, 0xFFFFFFFFu);
    }
    for (const unsigned word : output_of(look_at_shared<int>, {dim3(3), dim3(32), 16}, 6, 0u)) {
      EXPECT_EQ(word, 0xFFFFFFFFu);
    }
  }
}

__global__ void barriers_apart(int* out) {
  if (threadIdx.x == 0) __syncthreads();
  __syncwarp(threadIdx.x == 0 ? 1u : ~1u);
  if (threadIdx.x != 0) __syncthreads();
  out[0] = 1;
}
__global__ void trap(int*) { __trap(); }

TEST(EmulatedBlockDeathTest, FaultsNameKernelBlockAndThread) {
  const OptionsGuard guard;
  options().order = Order::forward;
  const DeviceArray<int> out(1);
  EXPECT_EXIT(
      launch("apart", barriers_apart, dim3(1), dim3(32), 0, nullptr, out.data()), ::testing::ExitedWithCode(85),
      "different barriers\n  kernel apart, block \\(0,0,0\\), thread \\(31,0,0\\) comes to __syncthreads\\(\\) at "
      ".*block_test.cu:[0-9]+\n  waiting in __syncthreads\\(\\) at .*block_test.cu:[0-9]+: threads 0\n");
  EXPECT_EXIT(launch("trap", trap, dim3(1), dim3(1), 0, nullptr, out.data()), ::testing::ExitedWithCode(85),
              "__trap\\(\\), at .*block_test.cu:[0-9]+\n  kernel trap, block \\(0,0,0\\), thread \\(0,0,0\\)");
}

}  // namespace
}  // namespace accrue::emulator
