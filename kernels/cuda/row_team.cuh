// Threads that work on one row together: a warp for narrow rows, a block for wide ones.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/reduce.cuh"

namespace accrue::kernels::cuda {

// Elements of a row that a thread keeps in its registers: one 16-byte pack of halves, two of f32.
constexpr int row_elements_a_thread = 8;

// Where a row is between the passes over it.
enum class RowHome {
  registers,  // every thread keeps its elements: the row comes from memory once
  memory,     // too wide for that: every pass reads it
};

// A team of `threads_`, each of which takes packs of `width_` elements; pack k of thread t begins at element
// (k * threads + t) * width, so that a warp's accesses are neighbours. Widths above 1 need rows of whole packs.
template <int width_, int threads_, RowHome home_>
struct RowTeam {
  static constexpr int width = width_, threads = threads_;
  static constexpr RowHome home = home_;
  static constexpr int warps = threads / warp_size;
  static constexpr int teams_a_block = warps == 1 ? 4 : 1;  // blocks of one warp would fill half a multiprocessor
  static constexpr int block = teams_a_block * threads;
  static constexpr int packs = home == RowHome::registers ? row_elements_a_thread / width : 1;

  __device__ static int team() { return static_cast<int>(threadIdx.x) / threads; }
  __device__ static int thread() { return static_cast<int>(threadIdx.x) % threads; }

  // f(k, at) for each of this thread's packs: at is the place of its first element in the row.
  template <class F>
  __device__ static void each_pack(std::int64_t cols, F&& f) {
    if constexpr (home == RowHome::registers) {
#pragma unroll
      for (int k = 0; k < packs; ++k)
        if (const int at = (k * threads + thread()) * width; at < cols) f(k, at);
    } else {
      for (std::int64_t at = std::int64_t{thread()} * width; at < cols; at += threads * width) f(0, at);
    }
  }

  // Shared memory for the sums of a block's teams. Alternate between two of them: one barrier a sum is then enough.
  template <int count>
  struct Scratch {
    float v[warps][count];
  };

  // Sums over the team, in an order that depends on its size alone; every thread gets them. All threads of a team of
  // several warps, which is a block, call it.
  template <int count>
  __device__ static void sum(float (&values)[count], Scratch<count>& scratch) {
#pragma unroll
    for (int i = 0; i < count; ++i) values[i] = warp_sum(values[i]);
    if constexpr (warps > 1) {
      const int lane = thread() % warp_size, warp = thread() / warp_size;
      if (lane == 0)
#pragma unroll
        for (int i = 0; i < count; ++i) scratch.v[warp][i] = values[i];
      __syncthreads();
#pragma unroll
      for (int i = 0; i < count; ++i) values[i] = warp_sum(lane < warps ? scratch.v[lane][i] : 0.0f);
    }
  }
};

// This thread's part of a row, in registers or still in memory, for RowTeam::each_pack.
template <class Team, class T>
class RowPart {
 public:
  __device__ void read(const T* row, std::int64_t cols) {
    if constexpr (Team::home == RowHome::registers)
      Team::each_pack(cols, [&](int k, int at) { packs_[k] = load<Team::width>(row + at); });
    else
      row_ = row;
  }
  __device__ Floats<Team::width> pack(int k, std::int64_t at) const {
    if constexpr (Team::home == RowHome::registers)
      return packs_[k];
    else
      return load<Team::width>(row_ + at);
  }
  __device__ void set(int k, const Floats<Team::width>& values) { packs_[k] = values; }

 private:
  Floats<Team::width> packs_[Team::packs];
  const T* row_ = nullptr;
};

// Calls function(RowTeam) with the team for rows of this width; `aligned` says that packs of `width` may be used.
template <int width, class Function>
void dispatch_row_team(std::int64_t cols, bool aligned, Function&& function) {
  const auto with_width = [&]<int pack>(std::integral_constant<int, pack>) {
    if (cols <= 32 * row_elements_a_thread)
      function(RowTeam<pack, 32, RowHome::registers>{});
    else if (cols <= 128 * row_elements_a_thread)
      function(RowTeam<pack, 128, RowHome::registers>{});
    else if (cols <= 512 * row_elements_a_thread)
      function(RowTeam<pack, 512, RowHome::registers>{});
    else
      function(RowTeam<pack, 512, RowHome::memory>{});
  };
  if (aligned && cols % width == 0)
    with_width(std::integral_constant<int, width>{});
  else
    with_width(std::integral_constant<int, 1>{});
}

// Blocks for teams that walk through the rows in strides of the grid.
template <class Team>
unsigned blocks_for_rows(const Tensor& on, std::int64_t rows) {
  constexpr std::int64_t threads_a_multiprocessor = 2048;
  const std::int64_t blocks = (rows + Team::teams_a_block - 1) / Team::teams_a_block;
  return static_cast<unsigned>(
      std::min(blocks, std::int64_t{multiprocessors(on)} * (threads_a_multiprocessor / Team::block)));
}

}  // namespace accrue::kernels::cuda
