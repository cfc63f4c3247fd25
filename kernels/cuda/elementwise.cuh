// Element-wise work as a grid-stride loop over 16-byte packs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.cuh"

namespace accrue::kernels::cuda {

// work.template apply<width>(i) does elements [i, i + width).
template <int width, class Work>
__global__ void over_packs_kernel(Work work, std::int64_t n) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t first = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t packs = n / width;
  for (std::int64_t i = first; i < packs; i += stride) work.template apply<width>(i * width);
  if constexpr (width > 1)
    for (std::int64_t i = packs * width + first; i < n; i += stride) work.template apply<1>(i);
}

constexpr unsigned elementwise_threads = 256;

// Enough blocks to fill the device, and no more than there is work for.
inline unsigned blocks_for(const Tensor& on, std::int64_t items, unsigned threads = elementwise_threads) {
  constexpr std::int64_t blocks_a_multiprocessor = 8;
  return static_cast<unsigned>(
      std::min((items + threads - 1) / threads, blocks_a_multiprocessor * multiprocessors(on)));
}

// Runs the work over n elements. `width` elements at a time where `aligned` says that all of its addresses are
// multiples of 16 bytes at element 0, else one at a time.
template <int width, class Work>
void over_packs(std::string_view name, const Tensor& on, std::int64_t n, bool aligned, const Work& work) {
  const std::int64_t items = aligned ? (n + width - 1) / width : n;
  const Launch start{.name = name, .on = on, .grid = blocks_for(on, items), .block = elementwise_threads};
  if (aligned)
    launch(start, over_packs_kernel<width, Work>, work, n);
  else
    launch(start, over_packs_kernel<1, Work>, work, n);
}

}  // namespace accrue::kernels::cuda
