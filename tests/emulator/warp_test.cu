// Warp collectives against their definitions in the programming guide.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/emulator/kernel_run.h"

namespace accrue::emulator {
namespace {

constexpr unsigned kFull = 0xFFFFFFFFu;

enum class Shuffle { index, up, down, exclusive_or };

// What lane `lane` gets when each lane gives ten times its number.
int shuffled(Shuffle shuffle, int lane, int argument, int width) {
  const int segment = lane / width * width, end = segment + width;
  const auto value = [&](int source) { return 10 * source; };
  switch (shuffle) {
    case Shuffle::index:
      return value(segment + ((argument % width) + width) % width);
    case Shuffle::up:
      return lane - argument < segment ? value(lane) : value(lane - argument);
    case Shuffle::down:
      return lane + argument >= end ? value(lane) : value(lane + argument);
    case Shuffle::exclusive_or:
      return (lane ^ argument) >= end ? value(lane) : value(lane ^ argument);
  }
  return -1;
}

__global__ void shuffle_all(int* out, Shuffle shuffle, int argument, int width) {
  const int value = 10 * static_cast<int>(threadIdx.x);
  int result = -1;
  if (shuffle == Shuffle::index) result = __shfl_sync(kFull, value, argument, width);
  if (shuffle == Shuffle::up) result = __shfl_up_sync(kFull, value, static_cast<unsigned>(argument), width);
  if (shuffle == Shuffle::down) result = __shfl_down_sync(kFull, value, static_cast<unsigned>(argument), width);
  if (shuffle == Shuffle::exclusive_or) result = __shfl_xor_sync(kFull, value, argument, width);
  out[threadIdx.x] = result;
}

TEST(EmulatedWarp, ShufflesMoveValuesWithinTheirSegments) {
  in_every_order([] {
    for (const Shuffle shuffle : {Shuffle::index, Shuffle::up, Shuffle::down, Shuffle::exclusive_or}) {
      for (const int width : {1, 2, 8, 32}) {
        for (const int argument : {0, 1, 3, 8, 16, 31}) {
          const std::vector<int> out = output_of(shuffle_all, {}, 32, 0, shuffle, argument, width);
          for (int lane = 0; lane < 32; ++lane) {
            EXPECT_EQ(out[static_cast<std::size_t>(lane)], shuffled(shuffle, lane, argument, width))
                << "shuffle " << static_cast<int>(shuffle) << ", lane " << lane << ", argument " << argument
                << ", width " << width;
          }
        }
      }
    }
  });
}

__global__ void shuffle_doubles(double* out) { out[threadIdx.x] = __shfl_xor_sync(kFull, 0.5 * threadIdx.x, 1); }

TEST(EmulatedWarp, ShufflesTakeEightByteValues) {
  const std::vector<double> out = output_of(shuffle_doubles, {}, 32, 0.0);
  for (std::size_t lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], 0.5 * static_cast<double>(lane ^ 1));
}

__global__ void votes(unsigned* out, unsigned mask, unsigned yes) {
  if ((mask >> threadIdx.x & 1) == 0) return;
  const int own = static_cast<int>(yes >> threadIdx.x & 1);
  unsigned* mine = out + threadIdx.x * 3;
  mine[0] = __ballot_sync(mask, own);
  mine[1] = static_cast<unsigned>(__any_sync(mask, own));
  mine[2] = static_cast<unsigned>(__all_sync(mask, own));
}

TEST(EmulatedWarp, VotesAreThoseOfTheLanesInTheMask) {
  in_every_order([] {
    for (const unsigned mask : {1u, 0x80000000u, 0x0F0F0F0Fu, kFull}) {
      for (const unsigned yes : {0u, 1u, 0x80000001u, 0x0F0F0F0Fu, kFull}) {
        const std::vector<unsigned> out = output_of(votes, {}, 96, 77u, mask, yes);
        for (unsigned lane = 0; lane < 32; ++lane) {
          const bool in = (mask >> lane & 1) != 0;
          EXPECT_EQ(out[lane * 3], in ? mask & yes : 77u);
          EXPECT_EQ(out[lane * 3 + 1], in ? (mask & yes) != 0 : 77u);
          EXPECT_EQ(out[lane * 3 + 2], in ? (mask & ~yes) == 0 : 77u);
        }
      }
    }
  });
}

__global__ void reductions(int* out, unsigned mask) {
  if ((mask >> threadIdx.x & 1) == 0) return;
  const int value = 7 - 3 * static_cast<int>(threadIdx.x);
  int* mine = out + threadIdx.x * 6;
  mine[0] = __reduce_add_sync(mask, value);
  mine[1] = __reduce_min_sync(mask, value);
  mine[2] = __reduce_max_sync(mask, value);
  mine[3] = static_cast<int>(__reduce_and_sync(mask, static_cast<unsigned>(value)));
  mine[4] = static_cast<int>(__reduce_or_sync(mask, static_cast<unsigned>(value)));
  mine[5] = static_cast<int>(__reduce_xor_sync(mask, static_cast<unsigned>(value)));
}

TEST(EmulatedWarp, ReductionsCombineTheLanesInTheMask) {
  in_every_order([] {
    for (const unsigned mask : {1u, 0x00FF00F0u, kFull}) {
      std::vector<int> expected;
      for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        const int value = 7 - 3 * static_cast<int>(lane);
        if (expected.empty()) {
          expected.assign(6, value);
          continue;
        }
        expected[0] += value;
        expected[1] = std::min(expected[1], value);
        expected[2] = std::max(expected[2], value);
        expected[3] &= value;
        expected[4] |= value;
        expected[5] ^= value;
      }
      const std::vector<int> out = output_of(reductions, {}, 32 * 6, 0, mask);
      const auto lane = static_cast<std::ptrdiff_t>(std::countr_zero(mask));
      EXPECT_EQ(std::vector<int>(out.begin() + lane * 6, out.begin() + lane * 6 + 6), expected) << std::hex << mask;
    }
  });
}

__global__ void matches(unsigned* out) {
  const float values[] = {0.0f, -0.0f, NAN};
  out[threadIdx.x * 2] = __match_any_sync(kFull, values[threadIdx.x % 3]);
  int all = -1;
  out[threadIdx.x * 2 + 1] = __match_all_sync(kFull, threadIdx.x / 32, &all) + (all == 1 ? 0 : 1);
}

TEST(EmulatedWarp, MatchesCompareBits) {
  const std::vector<unsigned> out = output_of(matches, {}, 64, 0u);
  for (unsigned lane = 0; lane < 32; ++lane) {
    unsigned expected = 0;
    for (unsigned other = lane % 3; other < 32; other += 3) expected |= 1u << other;
    EXPECT_EQ(out[lane * 2], expected);
    EXPECT_EQ(out[lane * 2 + 1], kFull);
  }
}

__global__ void shuffle_in_partial_warp(unsigned* out) { out[threadIdx.x] = __shfl_xor_sync(kFull, threadIdx.x, 16); }

TEST(EmulatedWarp, LanesThatAreNotThereGivePoison) {
  in_every_order([] {
    const std::vector<unsigned> out = output_of(shuffle_in_partial_warp, {dim3(1), dim3(32 + 20)}, 64, 0u);
    for (unsigned t = 0; t < 32; ++t) EXPECT_EQ(out[t], t ^ 16);
    for (unsigned t = 32; t < 52; ++t) EXPECT_EQ(out[t], ((t % 32) ^ 16) < 20 ? t ^ 16 : kFull);
  });
}

// Several groups of lanes of one warp go through collectives of their own, at different paces.
__global__ void groups(int* out) {
  const unsigned group = threadIdx.x % 4, mask = 0x11111111u << group;
  int sum = 0;
  for (unsigned step = 0; step <= 5 * group; ++step) sum = __reduce_add_sync(mask, static_cast<int>(threadIdx.x) + sum);
  __syncwarp();
  out[threadIdx.x] = sum;
}

TEST(EmulatedWarp, DisjointMasksDoNotDisturbEachOther) {
  in_every_order([] {
    const std::vector<int> out = output_of(groups, {}, 32, 0);
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned lanes_sum = 0, sum = 0;  // modulo 2^32, as the device's
      for (unsigned other = lane % 4; other < 32; other += 4) lanes_sum += other;
      for (unsigned step = 0; step <= 5 * (lane % 4); ++step) sum = lanes_sum + 8 * sum;
      EXPECT_EQ(static_cast<unsigned>(out[lane]), sum);
    }
  });
}

__global__ void syncwarp_in_branches(int* out) {
  __shared__ int values[32];
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (threadIdx.x < 7) {
    __syncwarp();
  } else {
    __syncwarp();
  }
  out[threadIdx.x] = values[31 - threadIdx.x];
}

TEST(EmulatedWarp, SyncwarpMayBeReachedFromDifferentBranches) {
  in_every_order([] {
    const std::vector<int> out = output_of(syncwarp_in_branches, {}, 32, 0);
    for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(out[static_cast<std::size_t>(lane)], 31 - lane);
  });
}

__global__ void different_collectives(int* out) {
  out[threadIdx.x] = threadIdx.x == 3 ? __any_sync(kFull, 1) : __all_sync(kFull, 1);
}
__global__ void outside_of_mask(int* out) { out[threadIdx.x] = __any_sync(0xFFFEu, 1); }
__global__ void waits_for_ever(int* out) {
  if (threadIdx.x != 5) __syncwarp();
  if (threadIdx.x == 5) __syncthreads();
  out[0] = 1;
}

TEST(EmulatedWarpDeathTest, MisuseEndsTheProcessWithAMessage) {
  const OptionsGuard guard;
  options().order = Order::forward;
  const DeviceArray<int> out(32);
  EXPECT_EXIT(launch("mixed", different_collectives, dim3(1), dim3(32), 0, nullptr, out.data()),
              ::testing::ExitedWithCode(85),
              "lanes of one mask meet in different warp collectives\n  kernel mixed, block \\(0,0,0\\), thread "
              "\\(3,0,0\\) comes to __any_sync\\(\\) at .*\n  waiting in __all_sync\\(\\) at .*: threads 0-2\n");
  EXPECT_EXIT(launch("outside", outside_of_mask, dim3(1), dim3(32), 0, nullptr, out.data()),
              ::testing::ExitedWithCode(85),
              "leaves it out\n.*lane 0 comes to __any_sync\\(\\) with the mask 0x0000fffe");
  EXPECT_EXIT(
      launch("stuck", waits_for_ever, dim3(1), dim3(32), 0, nullptr, out.data()), ::testing::ExitedWithCode(86),
      "deadlock: .*\n  kernel stuck, block \\(0,0,0\\)\n  waiting in __syncwarp\\(\\) at .*: threads 0-4, 6-31\n"
      "  waiting in __syncthreads\\(\\) at .*: threads 5\n");
}

}  // namespace
}  // namespace accrue::emulator
