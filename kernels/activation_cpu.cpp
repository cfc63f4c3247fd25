#include "kernels/activation.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"
#include "kernels/gelu_constants.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// 2^-t. |t - round(t)| <= 1/2 is exact, so no two-part reduction is needed; the polynomial has relative error 2^-27
// (minimax, fitted for this file). For -128.5 < t < 127.5 only: outside, the exponent would wrap around.
HWY_INLINE Floats exp2_of_minus(Floats t) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits, here with the exponent's bias.
  const Floats shift = hn::Set(d, 0x1.8p23f + 127.0f);
  const Floats shifted = hn::Sub(shift, t);
  const Floats n = hn::Sub(shifted, shift);
  const Floats f = hn::Add(t, n);  // of which 2^-f is wanted: odd coefficients have their signs flipped
  Floats p = hn::Set(d, 0x1.4bc7b4p-13f);
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.5fc00ap-10f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.3b21c6p-7f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.c6ada6p-5f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.ebfbe6p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.62e432p-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

// The gate 1 / (1 + 2^-t) and what t is: gelu_constants.h.
HWY_INLINE Floats gelu(Floats x) {
  const F32 d;
  const Floats c = clamp(x, gelu_zero, gelu_one);
  const Floats t = hn::Mul(c, hn::MulAdd(hn::Mul(c, c), hn::Set(d, gelu_cubic), hn::Set(d, gelu_linear)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp2_of_minus(t)));
}

// With the gate s = 1 / (1 + e), e = 2^-t: f(x) = x s, f'(x) = s + x s' and s' = s (1 - s) ln(2) t' = s (e s) ln(2) t'.
// 1 - s is e s, without cancellation; e must stay finite for that, hence the other lower bound.
HWY_INLINE Floats gelu_derivative(Floats x) {
  const F32 d;
  constexpr float ln2 = 0x1.62e43p-1f;
  const Floats c = clamp(x, gelu_smallest, gelu_one);
  const Floats square = hn::Mul(c, c);
  const Floats t = hn::Mul(c, hn::MulAdd(square, hn::Set(d, gelu_cubic), hn::Set(d, gelu_linear)));
  const Floats slope = hn::MulAdd(square, hn::Set(d, 3 * ln2 * gelu_cubic), hn::Set(d, ln2 * gelu_linear));
  const Floats e = exp2_of_minus(t);
  const Floats s = hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), e));
  return hn::MulAdd(s, hn::Mul(hn::Mul(c, slope), hn::Mul(e, s)), s);
}

void gelu_range(float* y, const float* x, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR { access.store(gelu(access.load(x + i)), y + i); });
}

void relu_range(float* y, const float* x, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats v = access.load(x + i);
    // Not a maximum, which loses NaN on some targets.
    access.store(hn::IfThenZeroElse(hn::Le(v, hn::Zero(F32())), v), y + i);
  });
}

template <Write write>
HWY_INLINE void store_gradient(Floats gradient, float* dx, auto access) {
  if constexpr (write == Write::accumulate) gradient = hn::Add(access.load(dx), gradient);
  access.store(gradient, dx);
}

template <Write write>
HWY_INLINE void gelu_backward(float* dx, const float* dy, const float* x, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    store_gradient<write>(hn::Mul(access.load(dy + i), gelu_derivative(access.load(x + i))), dx + i, access);
  });
}

template <Write write>
HWY_INLINE void relu_backward(float* dx, const float* dy, const float* x, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats v = access.load(x + i);
    const Floats passed = hn::IfThenZeroElse(hn::Le(v, hn::Zero(F32())), access.load(dy + i));
    store_gradient<write>(hn::IfThenElse(hn::IsNaN(v), v, passed), dx + i, access);
  });
}

void gelu_backward_range(float* dx, Write write, const float* dy, const float* x, std::int64_t n) {
  if (write == Write::accumulate) return gelu_backward<Write::accumulate>(dx, dy, x, n);
  gelu_backward<Write::overwrite>(dx, dy, x, n);
}

void relu_backward_range(float* dx, Write write, const float* dy, const float* x, std::int64_t n) {
  if (write == Write::accumulate) return relu_backward<Write::accumulate>(dx, dy, x, n);
  relu_backward<Write::overwrite>(dx, dy, x, n);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(gelu_range);
HWY_EXPORT(relu_range);
HWY_EXPORT(gelu_backward_range);
HWY_EXPORT(relu_backward_range);

namespace {
// A few microseconds of work: several times what waking a thread costs.
constexpr std::int64_t grain_of(Activation kind) { return kind == Activation::gelu ? 8192 : 16384; }
}  // namespace

void activation_forward(const ActivationForward& op) {
  require_f32("activation_forward", {{"x", op.x}});
  float* y = op.y.data<float>();
  const float* x = op.x.data<float>();
  const auto range = op.kind == Activation::gelu ? HWY_DYNAMIC_DISPATCH(gelu_range) : HWY_DYNAMIC_DISPATCH(relu_range);
  parallel_for(op.x.numel(), grain_of(op.kind),
               [&](std::int64_t begin, std::int64_t end) { range(y + begin, x + begin, end - begin); });
}

void activation_backward(const ActivationBackward& op) {
  require_f32("activation_backward", {{"x", op.x}});
  float* dx = op.dx.tensor.data<float>();
  const float *dy = op.dy.data<float>(), *x = op.x.data<float>();
  const auto range = op.kind == Activation::gelu ? HWY_DYNAMIC_DISPATCH(gelu_backward_range)
                                                 : HWY_DYNAMIC_DISPATCH(relu_backward_range);
  parallel_for(op.x.numel(), grain_of(op.kind), [&](std::int64_t begin, std::int64_t end) {
    range(dx + begin, op.dx.write, dy + begin, x + begin, end - begin);
  });
}

}  // namespace accrue::kernels::cpu
#endif
