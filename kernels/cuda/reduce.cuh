// Sums and maxima over a warp and a block, always in the same order.
#pragma once

#include <cuda_runtime.h>

namespace accrue::kernels::cuda {

constexpr unsigned whole_warp = 0xffffffffu;
constexpr int warp_size = 32;

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// A NaN wins, as in the CPU backend's maxima.
struct Maximum {
  __device__ float operator()(float a, float b) const { return a != a || a > b ? a : b; }
};

// Every lane of a full warp gets the result.
template <class T, class Combine>
__device__ inline T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int offset = warp_size / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(whole_warp, value, offset));
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) {
  return warp_reduce(value, Plus{});
}

// Every thread of the block gets the result; `neutral` changes nothing when combined. All threads call it, and the
// block has whole warps only, at most 32. `scratch` is shared memory for 32 values; it may be used again after the
// block's next barrier.
template <class T, class Combine>
__device__ inline T block_reduce(T value, T neutral, Combine combine, T* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const int warps = static_cast<int>(blockDim.x) / warp_size;
  value = warp_reduce(value, combine);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  return warp_reduce(lane < warps ? scratch[lane] : neutral, combine);
}
template <class T>
__device__ inline T block_sum(T value, T* scratch) {
  return block_reduce(value, T(0), Plus{}, scratch);
}

}  // namespace accrue::kernels::cuda
