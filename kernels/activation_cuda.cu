#include "kernels/activation.h"
#include "kernels/cuda/elementwise.cuh"
#include "kernels/gelu_constants.h"

namespace accrue::kernels::cuda {
namespace {

struct Gelu {
  // An infinite 2^-t makes the gate 0 and needs no care here; a NaN passes.
  __device__ static float value(float x) {
    const float t = x * fmaf(x * x, gelu_cubic, gelu_linear);
    return x / (1 + exp2f(-t));
  }

  // With the gate s = 1 / (1 + e), e = 2^-t: f(x) = x s, f'(x) = s + x s' and s' = s (1 - s) ln(2) t' = s (e s) ln(2)
  // t'. 1 - s is e s, without cancellation; e must stay finite for that.
  __device__ static float gradient(float x, float dy) {
    constexpr float ln2 = 0x1.62e43p-1f;
    const float c = x < gelu_smallest ? gelu_smallest : x > gelu_one ? gelu_one : x;  // not fminf, which loses a NaN
    const float square = c * c;
    const float t = c * fmaf(square, gelu_cubic, gelu_linear);
    const float slope = fmaf(square, 3 * ln2 * gelu_cubic, ln2 * gelu_linear);
    const float e = exp2f(-t);
    const float s = 1 / (1 + e);
    return dy * fmaf(s, c * slope * (e * s), s);
  }
};

struct Relu {
  __device__ static float value(float x) { return x <= 0 ? 0 : x; }  // not a maximum, which loses a NaN
  __device__ static float gradient(float x, float dy) { return x != x ? x : x <= 0 ? 0 : dy; }
};

template <class T, class Function>
struct ForwardWork {
  T* y;
  const T* x;

  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> values = load<width>(x + i);
#pragma unroll
    for (int k = 0; k < width; ++k) values.v[k] = Function::value(values.v[k]);
    store(y + i, values);
  }
};

template <class T, class Function>
struct BackwardWork {
  T* dx;
  const T *dy, *x;
  Write write;

  template <int width>
  __device__ void apply(std::int64_t i) const {
    const Floats<width> inputs = load<width>(x + i), above = load<width>(dy + i);
    Floats<width> gradient{};
    if (write == Write::accumulate) gradient = load<width>(dx + i);
      // In both cases an addition after the product: an accumulated gradient is the sum of what was overwritten before.
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float own = Function::gradient(inputs.v[k], above.v[k]);
      gradient.v[k] = write == Write::accumulate ? __fadd_rn(gradient.v[k], own) : own;
    }
    store(dx + i, gradient);
  }
};

template <class T, class Function>
void forward(const ActivationForward& op) {
  const ForwardWork<T, Function> work{elements<T>(op.y), elements<T>(op.x)};
  over_packs<pack_width<T>()>("activation_forward", op.y, op.y.numel(), aligned_for_packs(work.y, work.x), work);
}

template <class T, class Function>
void backward(const ActivationBackward& op) {
  const Tensor& dx = op.dx.tensor;
  const BackwardWork<T, Function> work{
      .dx = elements<T>(dx), .dy = elements<T>(op.dy), .x = elements<T>(op.x), .write = op.dx.write};
  over_packs<pack_width<T>()>("activation_backward", dx, dx.numel(), aligned_for_packs(work.dx, work.dy, work.x), work);
}

}  // namespace

void activation_forward(const ActivationForward& op) {
  dispatch_device_float(op.x.dtype(), "activation_forward", [&](auto tag) {
    op.kind == Activation::gelu ? forward<decltype(tag), Gelu>(op) : forward<decltype(tag), Relu>(op);
  });
}

void activation_backward(const ActivationBackward& op) {
  dispatch_device_float(op.x.dtype(), "activation_backward", [&](auto tag) {
    op.kind == Activation::gelu ? backward<decltype(tag), Gelu>(op) : backward<decltype(tag), Relu>(op);
  });
}

}  // namespace accrue::kernels::cuda
