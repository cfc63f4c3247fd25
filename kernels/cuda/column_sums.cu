#include "kernels/cuda/column_sums.cuh"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace accrue::kernels::cuda {
namespace {

constexpr int row_groups = 16;  // warps of a block, each of which walks through rows of its own

// Block [warp_size, row_groups] sums one part of the rows of warp_size * width columns.
template <int width, class T>
struct RowSums {
  const T* x;  // [rows, cols]
  float* out;  // [parts, cols]
  std::int64_t rows, rows_per_part, cols;
  Write write;

  // Of rows begin + group, begin + group + row_groups, … below end.
  __device__ Floats<width> of_group(std::int64_t column, std::int64_t begin, std::int64_t end) const {
    Floats<width> sum{};
#pragma unroll 4
    for (std::int64_t row = begin + threadIdx.y; row < end; row += row_groups) {
      const Floats<width> values = load<width>(x + row * cols + column);
#pragma unroll
      for (int k = 0; k < width; ++k) sum.v[k] += values.v[k];
    }
    return sum;
  }

  __device__ void put(std::int64_t part, std::int64_t column, Floats<width> sum) const {
    float* to = out + part * cols + column;
    if (write == Write::accumulate) {
      const Floats<width> old = load<width>(to);
#pragma unroll
      for (int k = 0; k < width; ++k) sum.v[k] += old.v[k];
    }
    store(to, sum);
  }
};

template <int width, class T>
__global__ void row_sums_kernel(RowSums<width, T> work) {
  // One word of each lane side by side: no two lanes use the same bank.
  __shared__ float sums[row_groups][width][warp_size];
  const std::int64_t part = blockIdx.y, begin = part * work.rows_per_part;
  const std::int64_t end = begin + work.rows_per_part < work.rows ? begin + work.rows_per_part : work.rows;
  const std::int64_t column = (std::int64_t{blockIdx.x} * warp_size + threadIdx.x) * width;
  const bool inside = column < work.cols;
  Floats<width> sum{};
  if (inside) sum = work.of_group(column, begin, end);
#pragma unroll
  for (int k = 0; k < width; ++k) sums[threadIdx.y][k][threadIdx.x] = sum.v[k];
  __syncthreads();
  if (!inside || threadIdx.y != 0) return;
  for (int group = 1; group < row_groups; ++group)
#pragma unroll
    for (int k = 0; k < width; ++k) sum.v[k] += sums[group][k][threadIdx.x];
  work.put(part, column, sum);
}

template <int width, class T>
void start(std::string_view name, const Tensor& on, unsigned parts, const RowSums<width, T>& work) {
  const std::int64_t tile = warp_size * width;
  const auto tiles = static_cast<unsigned>((work.cols + tile - 1) / tile);
  launch({.name = name, .on = on, .grid = dim3(tiles, parts), .block = dim3(warp_size, row_groups)},
         row_sums_kernel<width, T>, work);
}

// out[part, c] (+)= sum over the part's rows of x[row, c].
void sum_rows(std::string_view name, const Tensor& x, const RowParts& parts, const Tensor& out, Write write) {
  const std::int64_t cols = x.shape().last();
  // Without rows one block still writes the sum of nothing.
  const auto count = static_cast<unsigned>(std::max<std::int64_t>(1, parts.count()));
  dispatch_device_float(x.dtype(), name, [&](auto tag) {
    using T = decltype(tag);
    constexpr int width = pack_width<T>();
    const auto work = [&]<int columns>(std::integral_constant<int, columns>) {
      return RowSums<columns, T>{.x = elements<T>(x),
                                 .out = elements<float>(out),
                                 .rows = parts.rows,
                                 .rows_per_part = parts.rows_per_part,
                                 .cols = cols,
                                 .write = write};
    };
    if (cols % width == 0 && aligned_for_packs(x.raw(), out.raw()))
      start(name, x, count, work(std::integral_constant<int, width>{}));
    else
      start(name, x, count, work(std::integral_constant<int, 1>{}));
  });
}

}  // namespace

void column_sums(std::string_view name, const GradSlot& destination, const Tensor& x) {
  const std::int64_t cols = x.shape().last();
  const RowParts parts = RowParts::of(x.shape().rows());
  if (parts.count() <= 1) return sum_rows(name, x, parts, destination.tensor, destination.write);
  const Tensor partial = Tensor::empty({parts.count(), cols}, DType::f32, x.device(), Category::workspace);
  sum_rows(name, x, parts, partial, Write::overwrite);
  add_parts(name, destination, partial);
}

void add_parts(std::string_view name, const GradSlot& destination, const Tensor& partial) {
  const std::int64_t rows = partial.shape().rows();
  const RowParts all{.rows = rows, .rows_per_part = std::max<std::int64_t>(1, rows)};
  sum_rows(name, partial, all, destination.tensor, destination.write);
}

}  // namespace accrue::kernels::cuda
