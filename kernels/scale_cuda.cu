#include "kernels/cuda/elementwise.cuh"
#include "kernels/scale.h"

namespace accrue::kernels::cuda {
namespace {

template <class T>
struct ScaleWork {
  T* out;
  const T* x;
  float factor;
  const float* factor_device;  // may be null

  __device__ bool begin() {
    if (factor_device != nullptr) factor *= *factor_device;
    return true;
  }

  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> values = load<width>(x + i);
#pragma unroll
    for (int k = 0; k < width; ++k) values.v[k] *= factor;
    store(out + i, values);
  }
};

}  // namespace

void scale(const Scale& op) {
  dispatch_device_float(op.x.dtype(), "scale", [&](auto tag) {
    using T = decltype(tag);
    const ScaleWork<T> work{.out = elements<T>(op.out),
                            .x = elements<T>(op.x),
                            .factor = op.factor_host,
                            .factor_device = op.factor_device.defined() ? op.factor_device.data<float>() : nullptr};
    over_packs<pack_width<T>()>("scale", op.out, op.out.numel(), aligned_for_packs(work.out, work.x), work);
  });
}

}  // namespace accrue::kernels::cuda
