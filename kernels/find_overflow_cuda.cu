#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/step_state.cuh"
#include "kernels/cuda/types.cuh"
#include "kernels/find_overflow.h"
#include "kernels/gradient_dtype.h"

namespace accrue::kernels::cuda {
namespace {

constexpr unsigned threads = 256, blocks_a_slice = 32;

// Blocks y of slice x; they leave at once unless there is something to find.
template <class G>
__global__ void find_overflow_kernel(const G* gradient, const GradientSlice* slices, StepState* state) {
  if (state->found_inf == 0) return;
  const GradientSlice slice = slices[blockIdx.x];
  const std::int64_t stride = std::int64_t{gridDim.y} * blockDim.x;
  bool finite = true;
  for (std::int64_t i = std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x; i < slice.count; i += stride)
    finite = finite && isfinite(to_float(gradient[slice.begin + i]));
  if (!finite) atomicMax(&state->overflowed, static_cast<int>(blockIdx.x));
}

}  // namespace

void find_overflow(const FindOverflow& op) {
  const auto slices = static_cast<unsigned>(op.slices.numel() / static_cast<std::int64_t>(sizeof(GradientSlice)));
  const Launch find{.name = "find_overflow", .on = op.state, .grid = dim3(slices, blocks_a_slice), .block = threads};
  dispatch_gradient(op.gradient.dtype(), [&](auto tag) {
    using G = typename DeviceType<decltype(tag)>::type;
    launch(find, find_overflow_kernel<G>, static_cast<const G*>(elements<G>(op.gradient)),
           reinterpret_cast<const GradientSlice*>(op.slices.raw()), state_of(op.state));
  });
}

}  // namespace accrue::kernels::cuda
