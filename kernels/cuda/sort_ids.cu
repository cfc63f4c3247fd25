// A radix sort (Knuth, The Art of Computer Programming, volume 3, section 5.2.5), least significant digit first. Each
// pass counts the digits of every tile of keys, sums the counts up to positions, and scatters the keys there.
#include "kernels/cuda/sort_ids.cuh"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/reduce.cuh"

namespace accrue::kernels::cuda {
namespace {

constexpr int digit_bits = 8;
constexpr int digits = 1 << digit_bits;
constexpr int tile_threads = digits;  // one thread a digit where counts are summed
constexpr int tile_warps = tile_threads / warp_size;
constexpr int rounds = 8;
constexpr int tile_keys = rounds * tile_threads;

struct Keys {
  std::int32_t *key, *place;
};

// One pass over at most n keys. `from.place` is nullptr in the first pass, whose keys are the ids themselves.
struct Pass {
  Keys from, to;
  const std::int32_t* known;  // how many keys the pass before has kept, or nullptr for n
  std::int32_t* positions;    // [digits, tiles]: counts, then where the digit's keys of the tile go
  std::int32_t* kept;         // their sum
  std::int32_t n, rows, tiles, shift;

  __device__ std::int32_t count() const { return known == nullptr ? n : *known; }
  __device__ bool in_table(std::int32_t key) const { return key >= 0 && key < rows; }
  __device__ int digit(std::int32_t key) const { return (key >> shift) & (digits - 1); }
  // The key that this lane's warp looks at in a round, and whether there is one. A warp's keys are neighbours, so the
  // order of warps, rounds and lanes is that of the keys.
  __device__ std::int64_t index(int round) const {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    return std::int64_t{blockIdx.x} * tile_keys + (warp * rounds + round) * warp_size + lane;
  }
};

__global__ void count_digits_kernel(Pass pass, FaultSink sink, std::uintptr_t thrower) {
  __shared__ std::int32_t counts[digits];
  counts[threadIdx.x] = 0;
  __syncthreads();
  const std::int32_t count = pass.count();
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t i = pass.index(round);
    if (i >= count) continue;
    const std::int32_t key = pass.from.key[i];
    if (pass.in_table(key))
      atomicAdd(&counts[pass.digit(key)], 1);
    else
      report_fault(sink, thrower, i, key, pass.rows);
  }
  __syncthreads();
  pass.positions[static_cast<std::int64_t>(threadIdx.x) * pass.tiles + blockIdx.x] = counts[threadIdx.x];
}

// Inclusive sums over the warp's lanes.
__device__ inline std::int32_t warp_prefix(std::int32_t value) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
  for (int offset = 1; offset < warp_size; offset *= 2) {
    const std::int32_t before = __shfl_up_sync(whole_warp, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

constexpr int scan_threads = 1024;

// One block turns the counts into positions: the sum of all counts before.
__global__ void __launch_bounds__(scan_threads)
    sum_counts_kernel(std::int32_t* counts, std::int64_t n, std::int32_t* total) {
  __shared__ std::int32_t warp_sums[warp_size];
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int64_t share = (n + scan_threads - 1) / scan_threads;
  const std::int64_t begin = threadIdx.x * share, end = begin + share < n ? begin + share : n;
  std::int32_t mine = 0;
  for (std::int64_t i = begin; i < end; ++i) mine += counts[i];
  const std::int32_t in_warp = warp_prefix(mine);
  if (lane == warp_size - 1) warp_sums[warp] = in_warp;
  __syncthreads();
  const std::int32_t of_warps = warp_prefix(warp_sums[lane]);
  std::int32_t position = in_warp - mine + __shfl_sync(whole_warp, of_warps, warp) - warp_sums[warp];
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int32_t count = counts[i];
    counts[i] = position;
    position += count;
  }
  if (threadIdx.x == scan_threads - 1) *total = position;
}

__global__ void scatter_keys_kernel(Pass pass) {
  __shared__ std::int32_t next[tile_warps][digits];  // where the warp's next key of a digit goes
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int32_t count = pass.count();
  for (int w = 0; w < tile_warps; ++w) next[w][threadIdx.x] = 0;
  __syncthreads();
  std::int32_t keys[rounds];
#pragma unroll
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t i = pass.index(round);
    keys[round] = i < count ? pass.from.key[i] : -1;
    if (pass.in_table(keys[round])) atomicAdd(&next[warp][pass.digit(keys[round])], 1);
  }
  __syncthreads();
  std::int32_t position = pass.positions[static_cast<std::int64_t>(threadIdx.x) * pass.tiles + blockIdx.x];
  for (int w = 0; w < tile_warps; ++w) {
    const std::int32_t counted = next[w][threadIdx.x];
    next[w][threadIdx.x] = position;
    position += counted;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < rounds; ++round) {
    const bool kept = pass.in_table(keys[round]);
    const int digit = kept ? pass.digit(keys[round]) : digits;  // those left out are a group of their own
    const unsigned same = __match_any_sync(whole_warp, digit), before = same & ((1u << lane) - 1);
    const std::int32_t first = kept ? next[warp][digit] : 0;
    __syncwarp();  // all have read before the group's first lane counts them
    if (kept) {
      const std::int32_t to = first + __popc(before);
      const std::int64_t i = pass.index(round);
      pass.to.key[to] = keys[round];
      pass.to.place[to] = pass.from.place == nullptr ? static_cast<std::int32_t>(i) : pass.from.place[i];
      if (before == 0) next[warp][digit] = first + __popc(same);
    }
    __syncwarp();
  }
}

__global__ void find_runs_kernel(const std::int32_t* key, const std::int32_t* count, std::int32_t* begin,
                                 std::int32_t* end) {
  const std::int64_t n = *count, stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    if (i == 0 || key[i - 1] != key[i]) begin[key[i]] = static_cast<std::int32_t>(i);
    if (i == n - 1 || key[i + 1] != key[i]) end[key[i]] = static_cast<std::int32_t>(i) + 1;
  }
}

void run_pass(std::string_view name, const Tensor& ids, const Pass& pass, FaultSink sink, std::uintptr_t thrower) {
  const auto tiles = static_cast<unsigned>(pass.tiles);
  launch({.name = name, .on = ids, .grid = tiles, .block = tile_threads}, count_digits_kernel, pass, sink, thrower);
  launch({.name = name, .on = ids, .grid = 1, .block = scan_threads}, sum_counts_kernel, pass.positions,
         std::int64_t{digits} * pass.tiles, pass.kept);
  launch({.name = name, .on = ids, .grid = tiles, .block = tile_threads}, scatter_keys_kernel, pass);
}

Tensor integers(const Tensor& ids, std::int64_t count) {
  return Tensor::empty({count}, DType::i32, ids.device(), Category::workspace);
}

}  // namespace

SortedIds sort_ids(std::string_view name, const Tensor& ids, std::int64_t rows, FaultSink sink,
                   std::uintptr_t thrower) {
  const std::int64_t n = ids.numel();
  SortedIds sorted{.places = integers(ids, n), .begin = integers(ids, rows), .end = integers(ids, rows)};
  sorted.begin.fill_zero();
  sorted.end.fill_zero();
  if (n == 0) return sorted;
  // Ids are below 2^31, however many rows there are.
  const auto ids_end =
      static_cast<std::int32_t>(std::min<std::int64_t>(rows, std::numeric_limits<std::int32_t>::max()));
  const int bits = std::bit_width(static_cast<std::uint32_t>(std::max(ids_end - 1, 1)));
  const int passes = (bits + digit_bits - 1) / digit_bits;
  const std::int64_t tiles = (n + tile_keys - 1) / tile_keys;
  const Tensor key[2] = {integers(ids, n), integers(ids, n)}, other_places = integers(ids, n);
  const Tensor positions = integers(ids, digits * tiles), kept = integers(ids, passes);
  const auto data = [](const Tensor& tensor) { return tensor.data<std::int32_t>(); };
  // The last pass writes to sorted.places.
  const auto buffer = [&](int pass) {
    return Keys{.key = data(key[pass % 2]), .place = data((passes - 1 - pass) % 2 == 0 ? sorted.places : other_places)};
  };
  Pass pass{.from = {.key = data(ids), .place = nullptr},
            .to = {},
            .known = nullptr,
            .positions = data(positions),
            .kept = data(kept),
            .n = static_cast<std::int32_t>(n),
            .rows = ids_end,
            .tiles = static_cast<std::int32_t>(tiles),
            .shift = 0};
  for (int i = 0; i < passes; ++i) {
    pass.to = buffer(i);
    run_pass(name, ids, pass, sink, thrower);
    pass.from = pass.to;
    pass.known = pass.kept++;
    pass.shift += digit_bits;
  }
  launch({.name = name, .on = ids, .grid = blocks_for(ids, n)}, find_runs_kernel, data(key[(passes - 1) % 2]),
         data(kept) + passes - 1, data(sorted.begin), data(sorted.end));
  return sorted;
}

}  // namespace accrue::kernels::cuda
