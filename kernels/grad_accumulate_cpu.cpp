#include "kernels/cpu/parallel.h"
#include "kernels/grad_accumulate.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad_accumulate_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

template <class T>
void accumulate(float* acc, const T* incoming, float scale, bool add, std::int64_t n) {
  const Floats factor = hn::Set(F32(), scale);
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats x = access.load(incoming + i);
    access.store(add ? hn::MulAdd(factor, x, access.load(acc + i)) : hn::Mul(factor, x), acc + i);
  });
}

void accumulate_f32(float* acc, const float* incoming, float scale, bool add, std::int64_t n) {
  accumulate(acc, incoming, scale, add, n);
}
void accumulate_f16(float* acc, const f16* incoming, float scale, bool add, std::int64_t n) {
  accumulate(acc, incoming, scale, add, n);
}
void accumulate_bf16(float* acc, const bf16* incoming, float scale, bool add, std::int64_t n) {
  accumulate(acc, incoming, scale, add, n);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(accumulate_f32);
HWY_EXPORT(accumulate_f16);
HWY_EXPORT(accumulate_bf16);

// Work below this many elements is not worth another thread.
constexpr std::int64_t grain = 16384;

}  // namespace

void grad_accumulate(const GradAccumulate& op) {
  float* acc = op.acc.tensor.data<float>();
  const bool add = op.acc.write == Write::accumulate;
  const auto over_parts = [&](const auto* incoming, auto kernel) {
    parallel_for(op.incoming.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
      kernel(acc + begin, incoming + begin, op.scale, add, end - begin);
    });
  };
  switch (op.incoming.dtype()) {
    case DType::f16:
      return over_parts(op.incoming.data<f16>(), HWY_DYNAMIC_DISPATCH(accumulate_f16));
    case DType::bf16:
      return over_parts(op.incoming.data<bf16>(), HWY_DYNAMIC_DISPATCH(accumulate_bf16));
    default:
      return over_parts(op.incoming.data<float>(), HWY_DYNAMIC_DISPATCH(accumulate_f32));
  }
}

}  // namespace accrue::kernels::cpu
#endif
