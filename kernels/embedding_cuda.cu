#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/sort_ids.cuh"
#include "kernels/embedding.h"

namespace accrue::kernels::cuda {
namespace {

void throw_bad_id(std::string_view op, const accrue::cuda::Fault& fault) {
  fail_bad_id(op, {.shape = fault.context.shape, .place = fault.place, .id = fault.value, .rows = fault.limit});
}
void throw_bad_forward_id(const accrue::cuda::Fault& fault) { throw_bad_id("embedding_forward", fault); }
void throw_bad_backward_id(const accrue::cuda::Fault& fault) { throw_bad_id("embedding_backward", fault); }

FaultSink id_sink(const Tensor& ids) {
  FaultSink sink = fault_sink_of(ids);
  sink.context.shape = ids.shape();
  return sink;
}

constexpr int block_warps = 8;
constexpr int block_threads = block_warps * warp_size;

template <class T>
struct Gather {
  T* y;
  const std::int32_t* ids;
  const T *table, *positions;  // positions may be nullptr
  std::int64_t n, length, cols, rows;
};

// A warp copies a row.
template <int width, class T>
__global__ void __launch_bounds__(block_threads) gather_kernel(Gather<T> work, FaultSink sink, std::uintptr_t thrower) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int64_t stride = std::int64_t{gridDim.x} * block_warps;
  for (std::int64_t i = std::int64_t{blockIdx.x} * block_warps + warp; i < work.n; i += stride) {
    const std::int32_t id = work.ids[i];
    if (id < 0 || id >= work.rows) {
      if (lane == 0) report_fault(sink, thrower, i, id, work.rows);
      continue;
    }
    const T* row = work.table + id * work.cols;
    const T* position = work.positions == nullptr ? nullptr : work.positions + i % work.length * work.cols;
    for (std::int64_t c = lane * width; c < work.cols; c += warp_size * width) {
      Floats<width> values = load<width>(row + c);
      if (position != nullptr) {
        const Floats<width> offset = load<width>(position + c);
#pragma unroll
        for (int k = 0; k < width; ++k) values.v[k] += offset.v[k];
      }
      store(work.y + i * work.cols + c, values);
    }
  }
}

// Sums of rows of dy into a table's gradient; the ids are sorted, as SortedIds tells.
template <class T>
struct TableGradient {
  float* gradient;
  Write write;
  const T* dy;
  const std::int32_t *places, *begin, *end;
  std::int64_t rows, cols;

  __device__ std::int64_t uses(std::int64_t row) const { return end[row] - begin[row]; }
};

// More uses of a row than this are shared among the block's warps: one warp would take long after all others are done.
constexpr int most_uses_of_a_warp = 64;

// The sum of every step-th use of a row, from the use `first` on.
template <int width, class T>
__device__ Floats<width> sum_uses(const TableGradient<T>& work, std::int64_t row, std::int64_t column, int first,
                                  int step) {
  Floats<width> sum{};
  const std::int64_t end = work.end[row];
#pragma unroll 4
  for (std::int64_t i = work.begin[row] + first; i < end; i += step) {
    const Floats<width> values = load<width>(work.dy + work.places[i] * work.cols + column);
#pragma unroll
    for (int k = 0; k < width; ++k) sum.v[k] += values.v[k];
  }
  return sum;
}

// A warp sums a row that is not used often.
template <int width, class T>
__device__ void write_row(const TableGradient<T>& work, std::int64_t row, std::int64_t column) {
  const bool accumulate = work.write == Write::accumulate;
  if (column >= work.cols || (accumulate && work.uses(row) == 0)) return;
  float* to = work.gradient + row * work.cols + column;
  Floats<width> sum = sum_uses<width>(work, row, column, 0, 1);
  if (accumulate) {
    const Floats<width> old = load<width>(to);
#pragma unroll
    for (int k = 0; k < width; ++k) sum.v[k] += old.v[k];
  }
  store(to, sum);
}

// All warps of the block sum one row: each its share, then the shares in order.
template <int width, class T>
__device__ void write_row_together(const TableGradient<T>& work, std::int64_t row, std::int64_t first_column) {
  constexpr int tile = warp_size * width;
  __shared__ __align__(16) float sums[block_warps][tile];
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int64_t column = first_column + lane * width;
  if (column < work.cols) store(&sums[warp][lane * width], sum_uses<width>(work, row, column, warp, block_warps));
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < tile && first_column + c < work.cols; c += block_threads) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < block_warps; ++w) sum += sums[w][c];
    float* to = work.gradient + row * work.cols + first_column + c;
    *to = work.write == Write::accumulate ? *to + sum : sum;
  }
  __syncthreads();  // the next row uses the same shared memory
}

// A block takes as many rows as it has warps, and one tile of their columns.
template <int width, class T>
__global__ void __launch_bounds__(block_threads) table_gradient_kernel(TableGradient<T> work) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int64_t first_row = std::int64_t{blockIdx.x} * block_warps;
  const std::int64_t first_column = std::int64_t{blockIdx.y} * warp_size * width;
  if (const std::int64_t row = first_row + warp; row < work.rows && work.uses(row) <= most_uses_of_a_warp)
    write_row<width>(work, row, first_column + lane * width);
  for (std::int64_t row = first_row; row < first_row + block_warps && row < work.rows; ++row)
    if (work.uses(row) > most_uses_of_a_warp) write_row_together<width>(work, row, first_column);
}

// dpositions[t] (+)= dy[t] + dy[t + length] + …; rows from `length` on have no source.
template <class T>
struct PositionGradient {
  float* gradient;
  Write write;
  const T* dy;
  std::int64_t size, total;  // elements of one sequence and of all

  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> sum{};
    if (i < size)
#pragma unroll 4
      for (std::int64_t from = i; from < total; from += size) {
        const Floats<width> values = load<width>(dy + from);
#pragma unroll
        for (int k = 0; k < width; ++k) sum.v[k] += values.v[k];
      }
    if (write == Write::accumulate) {
      if (i >= size) return;
      const Floats<width> old = load<width>(gradient + i);
#pragma unroll
      for (int k = 0; k < width; ++k) sum.v[k] += old.v[k];
    }
    store(gradient + i, sum);
  }
};

template <class T>
void table_gradient(const GradSlot& dtable, const Tensor& dy, const Tensor& ids) {
  constexpr std::string_view name = "embedding_backward";
  const std::int64_t rows = dtable.tensor.shape()[0], cols = dy.shape().last();
  if (rows == 0 || cols == 0) return;
  const SortedIds sorted =
      sort_ids(name, ids, rows, id_sink(ids), reinterpret_cast<std::uintptr_t>(&throw_bad_backward_id));
  const TableGradient<T> work{.gradient = dtable.tensor.data<float>(),
                              .write = dtable.write,
                              .dy = elements<T>(dy),
                              .places = sorted.places.data<std::int32_t>(),
                              .begin = sorted.begin.data<std::int32_t>(),
                              .end = sorted.end.data<std::int32_t>(),
                              .rows = rows,
                              .cols = cols};
  const auto start = [&]<int width>(std::integral_constant<int, width>) {
    constexpr int tile = warp_size * width;
    const dim3 grid(static_cast<unsigned>((rows + block_warps - 1) / block_warps),
                    static_cast<unsigned>((cols + tile - 1) / tile));
    launch({.name = name, .on = dy, .grid = grid, .block = block_threads}, table_gradient_kernel<width, T>, work);
  };
  constexpr int width = pack_width<T>();
  if (cols % width == 0 && aligned_for_packs(work.gradient, work.dy))
    start(std::integral_constant<int, width>{});
  else
    start(std::integral_constant<int, 1>{});
}

template <class T>
void position_gradient(const GradSlot& dpositions, const Tensor& dy, const Tensor& ids) {
  const std::int64_t cols = dy.shape().last();
  const std::int64_t length = ids.numel() == 0 ? 0 : ids.shape().last();
  const PositionGradient<T> work{.gradient = dpositions.tensor.data<float>(),
                                 .write = dpositions.write,
                                 .dy = elements<T>(dy),
                                 .size = length * cols,
                                 .total = dy.numel()};
  constexpr int width = pack_width<T>();
  over_packs<width>("embedding_backward", dpositions.tensor, dpositions.tensor.numel(),
                    cols % width == 0 && aligned_for_packs(work.gradient, work.dy), work);
}

}  // namespace

void embedding_forward(const EmbeddingForward& op) {
  dispatch_device_float(op.table.dtype(), "embedding_forward", [&](auto tag) {
    using T = decltype(tag);
    const Gather<T> work{.y = elements<T>(op.y),
                         .ids = op.ids.data<std::int32_t>(),
                         .table = elements<T>(op.table),
                         .positions = op.positions.defined() ? elements<T>(op.positions) : nullptr,
                         .n = op.ids.numel(),
                         .length = op.ids.shape().last(),
                         .cols = op.table.shape().last(),
                         .rows = op.table.shape()[0]};
    constexpr int width = pack_width<T>();
    const bool packs = work.cols % width == 0 && aligned_for_packs(work.y, work.table, work.positions);
    launch({.name = "embedding_forward",
            .on = op.y,
            .grid = blocks_for(op.y, work.n * warp_size, block_threads),
            .block = block_threads},
           packs ? gather_kernel<width, T> : gather_kernel<1, T>, work, id_sink(op.ids),
           reinterpret_cast<std::uintptr_t>(&throw_bad_forward_id));
  });
}

void embedding_backward(const EmbeddingBackward& op) {
  dispatch_device_float(op.dy.dtype(), "embedding_backward", [&](auto tag) {
    using T = decltype(tag);
    if (op.dtable) table_gradient<T>(op.dtable, op.dy, op.ids);
    if (op.dpositions) position_gradient<T>(op.dpositions, op.dy, op.ids);
  });
}

}  // namespace accrue::kernels::cuda
