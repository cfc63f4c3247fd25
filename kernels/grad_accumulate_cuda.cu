#include "kernels/cuda/elementwise.cuh"
#include "kernels/grad_accumulate.h"
#include "kernels/gradient_dtype.h"

namespace accrue::kernels::cuda {
namespace {

template <class Acc, class T>
struct AccumulateWork {
  Acc* acc;
  const T* incoming;
  float scale;
  Write write;

  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> values = load<width>(incoming + i);
    if (write == Write::accumulate) {
      const Floats<width> old = load<width>(acc + i);
#pragma unroll
      for (int k = 0; k < width; ++k) values.v[k] = fmaf(scale, values.v[k], old.v[k]);
    } else {
#pragma unroll
      for (int k = 0; k < width; ++k) values.v[k] *= scale;
    }
    store(acc + i, values);
  }
};

}  // namespace

void grad_accumulate(const GradAccumulate& op) {
  const Tensor& acc = op.acc.tensor;
  dispatch_gradient(acc.dtype(), [&](auto acc_tag) {
    using Acc = typename DeviceType<decltype(acc_tag)>::type;
    dispatch_device_float(op.incoming.dtype(), "grad_accumulate", [&](auto tag) {
      using T = decltype(tag);
      const AccumulateWork<Acc, T> work{
          .acc = elements<Acc>(acc), .incoming = elements<T>(op.incoming), .scale = op.scale, .write = op.acc.write};
      over_packs<pack_width<float>()>("grad_accumulate", acc, acc.numel(), aligned_for_packs(work.acc, work.incoming),
                                      work);
    });
  });
}

}  // namespace accrue::kernels::cuda
