#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/step_state.cuh"
#include "kernels/gradient_check.h"
#include "kernels/gradient_dtype.h"

namespace accrue::kernels::cuda {
namespace {

constexpr unsigned threads = 256;
constexpr int width = pack_width<float>();  // of any dtype: the partition is the same

// The partition into chunks, one a block, depends on the number of elements alone, so the bits are the same on every
// GPU. At least four packs a thread; at most about as many chunks as the largest GPUs keep blocks resident.
struct Chunks {
  std::int64_t n, size;

  static Chunks of(std::int64_t n) {
    constexpr std::int64_t unit = std::int64_t{threads} * width * 4, most = 1024;
    return {n, std::max<std::int64_t>(1, (n + most * unit - 1) / (most * unit)) * unit};
  }
  unsigned count() const { return static_cast<unsigned>((n + size - 1) / size); }
};

// A thread's elements are the same with and without packs: a view's bits do not depend on where it begins.
template <bool aligned, class G>
__device__ Floats<width> load_pack(const G* from) {
  if constexpr (aligned) {
    return load<width>(from);
  } else {
    Floats<width> values;
#pragma unroll
    for (int k = 0; k < width; ++k) values.v[k] = to_float(from[k]);
    return values;
  }
}

__device__ double square(float x) { return static_cast<double>(x) * static_cast<double>(x); }

// partial[block] = sum of the squares of the block's chunk.
template <bool aligned, class G>
__global__ void sum_squares_kernel(const G* gradient, Chunks chunks, double* partial) {
  __shared__ double scratch[warp_size];
  const std::int64_t begin = blockIdx.x * chunks.size;
  const std::int64_t end = begin + chunks.size < chunks.n ? begin + chunks.size : chunks.n;
  const std::int64_t whole = begin + (end - begin) / width * width;
  double sum = 0;
#pragma unroll 4
  for (std::int64_t i = begin + std::int64_t{threadIdx.x} * width; i < whole; i += std::int64_t{threads} * width) {
    const Floats<width> values = load_pack<aligned>(gradient + i);
#pragma unroll
    for (int k = 0; k < width; ++k) sum += square(values.v[k]);
  }
  const std::int64_t rest = whole + threadIdx.x;
  if (rest < end) sum += square(to_float(gradient[rest]));
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block adds the chunks' sums. 2^63 squares of the largest f32 do not overflow an f64, so only an infinite or NaN
// element makes the sum non-finite.
__global__ void add_sums_kernel(const double* partial, unsigned count, StepState* state) {
  __shared__ double scratch[warp_size];
  double sum = 0;
  for (unsigned i = threadIdx.x; i < count; i += threads) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x != 0) return;
  state->squared_norm = sum;
  if (!isfinite(sum)) state->found_inf |= 1;
}

}  // namespace

void gradient_check(const GradientCheck& op) {
  const Chunks chunks = Chunks::of(op.gradient.numel());
  const unsigned count = chunks.count();
  const Tensor workspace = Tensor::empty({static_cast<std::int64_t>(count * sizeof(double))}, DType::u8,
                                         op.gradient.device(), Category::workspace);
  auto* partial = reinterpret_cast<double*>(workspace.raw());
  const Launch sums{.name = "gradient_check", .on = op.gradient, .grid = count, .block = threads};
  dispatch_gradient(op.gradient.dtype(), [&](auto tag) {
    using G = typename DeviceType<decltype(tag)>::type;
    const G* gradient = elements<G>(op.gradient);
    if (aligned_for_packs(gradient))
      launch(sums, sum_squares_kernel<true, G>, gradient, chunks, partial);
    else
      launch(sums, sum_squares_kernel<false, G>, gradient, chunks, partial);
  });
  launch({.name = "gradient_check", .on = op.gradient, .grid = 1, .block = threads}, add_sums_kernel, partial, count,
         state_of(op.state));
}

}  // namespace accrue::kernels::cuda
