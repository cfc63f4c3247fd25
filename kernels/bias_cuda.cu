#include "kernels/bias.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/elementwise.cuh"

namespace accrue::kernels::cuda {
namespace {

template <class T, int width>
struct BiasWork {
  T* y;
  const T *x, *bias;
  std::int64_t cols;

  __device__ void apply(std::int64_t row, std::int64_t pack) const {
    const std::int64_t column = pack * width, i = row * cols + column;
    const Floats<width> values = load<width>(x + i), shift = load<width>(bias + column);
    Floats<width> sum;
#pragma unroll
    for (int k = 0; k < width; ++k) sum.v[k] = values.v[k] + shift.v[k];
    store(y + i, sum);
  }
};

template <class T, int width>
void add_bias(const BiasForward& op) {
  const std::int64_t cols = op.x.shape().last();
  const BiasWork<T, width> work{elements<T>(op.y), elements<T>(op.x), elements<T>(op.bias), cols};
  over_rows("bias_forward", op.y, op.x.shape().rows(), cols / width, work);
}

}  // namespace

void bias_forward(const BiasForward& op) {
  dispatch_device_float(op.x.dtype(), "bias_forward", [&](auto tag) {
    using T = decltype(tag);
    constexpr int width = pack_width<T>();
    if (op.x.shape().last() % width == 0 && aligned_for_packs(op.y.raw(), op.x.raw(), op.bias.raw()))
      add_bias<T, width>(op);
    else
      add_bias<T, 1>(op);
  });
}

void bias_backward(const BiasBackward& op) { column_sums("bias_backward", op.dbias, op.dy); }

}  // namespace accrue::kernels::cuda
