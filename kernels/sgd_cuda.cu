#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/step_state.cuh"
#include "kernels/gradient_dtype.h"
#include "kernels/sgd.h"

namespace accrue::kernels::cuda {
namespace {

template <class T, class G>
struct SgdWork {
  float *master, *buffer;  // buffer: null without momentum
  T* compute;              // may be null
  const G* gradient;
  const StepState* state;
  float weight_decay, momentum;
  bool nesterov;
  float factor, learning_rate;  // from begin() on

  __device__ bool begin() {
    if (state->apply == 0) return false;
    factor = state->factor;
    learning_rate = state->learning_rate;
    return true;
  }

  // Every fused multiply-add is written out, so that packs and single elements give the same bits.
  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> masters = load<width>(master + i), steps = load<width>(gradient + i);
#pragma unroll
    for (int k = 0; k < width; ++k) steps.v[k] = fmaf(weight_decay, masters.v[k], steps.v[k] * factor);
    if (buffer != nullptr) add_momentum(i, steps);
#pragma unroll
    for (int k = 0; k < width; ++k) masters.v[k] = fmaf(-learning_rate, steps.v[k], masters.v[k]);
    store(master + i, masters);
    if (compute != nullptr) store(compute + i, masters);
  }

  template <int width>
  __device__ void add_momentum(std::int64_t i, Floats<width>& steps) const {
    Floats<width> kept = load<width>(buffer + i);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      kept.v[k] = fmaf(momentum, kept.v[k], steps.v[k]);
      steps.v[k] = nesterov ? fmaf(momentum, kept.v[k], steps.v[k]) : kept.v[k];
    }
    store(buffer + i, kept);
  }
};

template <class T, class G>
void update(const Sgd& op, T* compute, const G* gradient) {
  const SgdWork<T, G> work{.master = op.master.data<float>(),
                           .buffer = op.buffer.defined() ? op.buffer.data<float>() : nullptr,
                           .compute = compute,
                           .gradient = gradient,
                           .state = state_of(op.state),
                           .weight_decay = static_cast<float>(op.weight_decay),
                           .momentum = static_cast<float>(op.momentum),
                           .nesterov = op.nesterov,
                           .factor = 0,
                           .learning_rate = 0};
  const bool aligned = aligned_for_packs(work.master, work.buffer, work.compute, work.gradient);
  over_packs<pack_width<float>()>("sgd", op.master, op.master.numel(), aligned, work);
}

}  // namespace

void sgd(const Sgd& op) {
  dispatch_gradient(op.gradient.dtype(), [&](auto gradient_tag) {
    using G = typename DeviceType<decltype(gradient_tag)>::type;
    const G* gradient = elements<G>(op.gradient);
    if (!op.compute.defined()) return update<float>(op, nullptr, gradient);
    dispatch_device_float(op.compute.dtype(), "sgd",
                          [&](auto tag) { update(op, elements<decltype(tag)>(op.compute), gradient); });
  });
}

}  // namespace accrue::kernels::cuda
