#include "kernels/adamw.h"
#include "kernels/adamw_step.h"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/step_state.cuh"
#include "kernels/gradient_dtype.h"

namespace accrue::kernels::cuda {
namespace {

template <class T, class G>
struct AdamWWork {
  float *master, *m, *v;
  T* compute;  // may be null
  const G* gradient;
  const StepState* state;
  AdamWHyperParameters hyper_parameters;
  AdamWStep step;  // from begin() on

  // One thread of a block computes the scalars: their powers in f64 by every thread would, on a GPU with few f64 units,
  // take longer than the update itself.
  __device__ bool begin() {
    __shared__ AdamWStep shared_step;
    if (state->apply == 0) return false;
    if (threadIdx.x == 0) shared_step = adamw_step(hyper_parameters, *state);
    __syncthreads();
    step = shared_step;
    return true;
  }

  // Every fused multiply-add is written out, so that packs and single elements give the same bits.
  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> masters = load<width>(master + i), ms = load<width>(m + i), vs = load<width>(v + i);
    const Floats<width> gradients = load<width>(gradient + i);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float g = gradients.v[k] * step.factor;
      ms.v[k] = fmaf(step.beta1, ms.v[k], step.one_minus_beta1 * g);
      vs.v[k] = fmaf(step.beta2, vs.v[k], step.one_minus_beta2 * g * g);
      const float change = step.rate * ms.v[k] / fmaf(sqrtf(vs.v[k]), step.rms_correction, step.eps);
      masters.v[k] = fmaf(masters.v[k], step.keep, -change);
    }
    store(m + i, ms);
    store(v + i, vs);
    store(master + i, masters);
    if (compute != nullptr) store(compute + i, masters);
  }
};

template <class T, class G>
void update(const AdamW& op, T* compute, const G* gradient) {
  const AdamWWork<T, G> work{.master = op.master.data<float>(),
                             .m = op.m.data<float>(),
                             .v = op.v.data<float>(),
                             .compute = compute,
                             .gradient = gradient,
                             .state = state_of(op.state),
                             .hyper_parameters = hyper_parameters_of(op),
                             .step = {}};
  const bool aligned = aligned_for_packs(work.master, work.m, work.v, work.compute, work.gradient);
  over_packs<pack_width<float>()>("adamw", op.master, op.master.numel(), aligned, work);
}

}  // namespace

void adamw(const AdamW& op) {
  dispatch_gradient(op.gradient.dtype(), [&](auto gradient_tag) {
    using G = typename DeviceType<decltype(gradient_tag)>::type;
    const G* gradient = elements<G>(op.gradient);
    if (!op.compute.defined()) return update<float>(op, nullptr, gradient);
    dispatch_device_float(op.compute.dtype(), "adamw",
                          [&](auto tag) { update(op, elements<decltype(tag)>(op.compute), gradient); });
  });
}

}  // namespace accrue::kernels::cuda
