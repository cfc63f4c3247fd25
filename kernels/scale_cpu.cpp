#include "kernels/cpu/parallel.h"
#include "kernels/scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/scale_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

template <class T>
void multiply(T* out, const T* x, float factor, std::int64_t n) {
  const Floats f = hn::Set(F32(), factor);
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR { access.store(hn::Mul(access.load(x + i), f), out + i); });
}

void multiply_f32(float* out, const float* x, float factor, std::int64_t n) { multiply(out, x, factor, n); }
void multiply_f16(f16* out, const f16* x, float factor, std::int64_t n) { multiply(out, x, factor, n); }
void multiply_bf16(bf16* out, const bf16* x, float factor, std::int64_t n) { multiply(out, x, factor, n); }

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(multiply_f32);
HWY_EXPORT(multiply_f16);
HWY_EXPORT(multiply_bf16);

constexpr std::int64_t grain = 16384;  // elements

}  // namespace

void scale(const Scale& op) {
  const float factor = op.factor_device.defined() ? op.factor_host * *op.factor_device.data<float>() : op.factor_host;
  const auto over_parts = [&](auto* out, const auto* x, auto kernel) {
    parallel_for(op.x.numel(), grain,
                 [&](std::int64_t begin, std::int64_t end) { kernel(out + begin, x + begin, factor, end - begin); });
  };
  switch (op.x.dtype()) {
    case DType::f16:
      return over_parts(op.out.data<f16>(), op.x.data<f16>(), HWY_DYNAMIC_DISPATCH(multiply_f16));
    case DType::bf16:
      return over_parts(op.out.data<bf16>(), op.x.data<bf16>(), HWY_DYNAMIC_DISPATCH(multiply_bf16));
    default:
      return over_parts(op.out.data<float>(), op.x.data<float>(), HWY_DYNAMIC_DISPATCH(multiply_f32));
  }
}

}  // namespace accrue::kernels::cpu
#endif
