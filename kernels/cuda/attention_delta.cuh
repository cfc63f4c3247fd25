// What the backward of attention needs of every query beforehand: delta = sum over the features of dy * y.
#pragma once

#include "kernels/cuda/attention_task.cuh"
#include "kernels/cuda/pack.cuh"

namespace accrue::kernels::cuda {

constexpr int delta_threads = 256;
constexpr int delta_lanes = 8;  // that share a query
constexpr int delta_queries = delta_threads / delta_lanes;

// `present` elements, and zeros up to eight.
template <class T>
__device__ inline Floats<8> load_eight(const T* from, int present, RowAccess access) {
  if (access == RowAccess::packs) return load<8>(from);
  Floats<8> result = {};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (i < present) result.v[i] = to_float(from[i]);
  return result;
}

// Queries of all heads in the order of y's rows: neighbouring lanes read neighbouring features.
template <class T>
__global__ void __launch_bounds__(delta_threads) attention_delta(AttentionTask<T> task, std::int64_t queries) {
  const int lane = static_cast<int>(threadIdx.x) % delta_lanes;
  const std::int64_t number = std::int64_t{blockIdx.x} * delta_queries + threadIdx.x / delta_lanes;
  float sum = 0;
  if (number < queries) {
    const T *y = task.y + number * task.head_size, *dy = task.dy + number * task.head_size;
    for (int feature = 8 * lane; feature < task.head_size; feature += 8 * delta_lanes) {
      const int present = min(8, task.head_size - feature);
      const Floats<8> a = load_eight(y + feature, present, task.access),
                      b = load_eight(dy + feature, present, task.access);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(a.v[i], b.v[i], sum);
    }
  }
#pragma unroll
  for (int offset = delta_lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(whole_warp, sum, offset);
  if (number >= queries || lane != 0) return;
  const std::int64_t token = number / task.heads % task.tokens;
  const HeadPlace at = {.sample = number / task.heads / task.tokens, .head = static_cast<int>(number % task.heads)};
  task.delta[task.stats_offset(at) + token] = sum;
}

}  // namespace accrue::kernels::cuda
