#include "kernels/add.h"
#include "kernels/cuda/elementwise.cuh"

namespace accrue::kernels::cuda {
namespace {

template <class T>
struct AddWork {
  T* out;
  const T *a, *b;

  template <int width>
  __device__ void apply(std::int64_t i) const {
    const Floats<width> x = load<width>(a + i), y = load<width>(b + i);
    Floats<width> sum;
#pragma unroll
    for (int k = 0; k < width; ++k) sum.v[k] = x.v[k] + y.v[k];
    store(out + i, sum);
  }
};

}  // namespace

void add(const Add& op) {
  dispatch_device_float(op.out.dtype(), "add", [&](auto tag) {
    using T = decltype(tag);
    const AddWork<T> work{elements<T>(op.out), elements<T>(op.a), elements<T>(op.b)};
    over_packs<pack_width<T>()>("add", op.out, op.out.numel(), aligned_for_packs(work.out, work.a, work.b), work);
  });
}

}  // namespace accrue::kernels::cuda
