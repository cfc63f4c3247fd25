// Element-wise work as grid-stride loops over packs: over all elements, or over rows where the place in the row
// matters.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.cuh"

namespace accrue::kernels::cuda {

// A work that first reads its scalars from device memory has begin(), which all threads of a block call; false: nothing
// is to be done.
template <class Work>
__device__ inline bool begin_work(Work& work) {
  if constexpr (requires { work.begin(); })
    return work.begin();
  else
    return true;
}

// work.template apply<width>(i) does elements [i, i + width).
template <int width, class Work>
__global__ void over_packs_kernel(Work work, std::int64_t n) {
  if (!begin_work(work)) return;
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

// work.apply(row, item) does one item (a pack, say) of one row.
template <class Work>
__global__ void over_rows_kernel(Work work, std::int64_t rows, std::int64_t items) {
  const std::int64_t item_stride = std::int64_t{gridDim.x} * blockDim.x;
  const std::int64_t row_stride = std::int64_t{gridDim.y} * blockDim.y;
  for (std::int64_t item = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; item < items; item += item_stride)
    for (std::int64_t row = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += row_stride)
      work.apply(row, item);
}

// Runs the work over [rows, items], as a grid of two dimensions: no thread divides to find its place. A block is as
// wide as a row, where that is narrower than a block, and takes several rows then.
template <class Work>
void over_rows(std::string_view name, const Tensor& on, std::int64_t rows, std::int64_t items, const Work& work) {
  if (rows == 0 || items == 0) return;
  const auto width = std::min(elementwise_threads,
                              std::bit_ceil(static_cast<unsigned>(std::min<std::int64_t>(items, elementwise_threads))));
  const dim3 block(width, elementwise_threads / width);
  const unsigned across = blocks_for(on, items, block.x);
  const unsigned down = std::max(1u, blocks_for(on, rows * items) / across);
  const auto row_blocks = static_cast<unsigned>(std::min<std::int64_t>((rows + block.y - 1) / block.y, 65535));
  launch({.name = name, .on = on, .grid = dim3(across, std::min(down, row_blocks)), .block = block},
         over_rows_kernel<Work>, work, rows, items);
}

}  // namespace accrue::kernels::cuda
