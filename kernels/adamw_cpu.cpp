#include "kernels/adamw.h"

#include "kernels/adamw_step.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/step_state.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adamw_cpu.cpp"
#include "kernels/cpu/simd.h"

#ifndef ACCRUE_KERNELS_ADAMW_CPU_ONCE
#define ACCRUE_KERNELS_ADAMW_CPU_ONCE
namespace accrue::kernels::cpu {

// Where the elements of one part lie; T is the dtype of the compute copy, null where there is none.
template <class T>
struct AdamWPart {
  float *master, *m, *v;
  T* compute;
  const float* gradient;
  std::int64_t count;
};

}  // namespace accrue::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// Plain stores: every line written, but for the compute copy's, was read just before and is in the cache already.
template <class T, bool copies>
void update(const AdamWPart<T>& part, const AdamWStep& s) {
  const F32 d;
  const Floats factor = hn::Set(d, s.factor), beta1 = hn::Set(d, s.beta1),
               one_minus_beta1 = hn::Set(d, s.one_minus_beta1), beta2 = hn::Set(d, s.beta2),
               one_minus_beta2 = hn::Set(d, s.one_minus_beta2), keep = hn::Set(d, s.keep), rate = hn::Set(d, s.rate),
               rms_correction = hn::Set(d, s.rms_correction), eps = hn::Set(d, s.eps);
  over_vectors(part.count, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats g = hn::Mul(access.load(part.gradient + i), factor);
    const Floats m = hn::MulAdd(beta1, access.load(part.m + i), hn::Mul(one_minus_beta1, g));
    const Floats v = hn::MulAdd(beta2, access.load(part.v + i), hn::Mul(hn::Mul(one_minus_beta2, g), g));
    const Floats step = hn::Div(hn::Mul(rate, m), hn::MulAdd(hn::Sqrt(v), rms_correction, eps));
    const Floats master = hn::Sub(hn::Mul(access.load(part.master + i), keep), step);
    access.store(m, part.m + i);
    access.store(v, part.v + i);
    access.store(master, part.master + i);
    if constexpr (copies) access.store(master, part.compute + i);
  });
}

void update_only(const AdamWPart<float>& part, const AdamWStep& s) { update<float, false>(part, s); }
void update_f32(const AdamWPart<float>& part, const AdamWStep& s) { update<float, true>(part, s); }
void update_f16(const AdamWPart<f16>& part, const AdamWStep& s) { update<f16, true>(part, s); }
void update_bf16(const AdamWPart<bf16>& part, const AdamWStep& s) { update<bf16, true>(part, s); }

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(update_only);
HWY_EXPORT(update_f32);
HWY_EXPORT(update_f16);
HWY_EXPORT(update_bf16);

constexpr std::int64_t grain = 4096;  // elements

}  // namespace

void adamw(const AdamW& op) {
  const StepState& state = state_of(op.state);
  if (state.apply == 0) return;
  const AdamWStep step = adamw_step(hyper_parameters_of(op), state);
  const auto over_parts = [&](auto* compute, auto kernel) {
    using T = std::remove_pointer_t<decltype(compute)>;
    parallel_for(op.master.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
      kernel(AdamWPart<T>{.master = op.master.data<float>() + begin,
                          .m = op.m.data<float>() + begin,
                          .v = op.v.data<float>() + begin,
                          .compute = compute == nullptr ? nullptr : compute + begin,
                          .gradient = op.gradient.data<float>() + begin,
                          .count = end - begin},
             step);
    });
  };
  if (!op.compute.defined()) return over_parts(static_cast<float*>(nullptr), HWY_DYNAMIC_DISPATCH(update_only));
  switch (op.compute.dtype()) {
    case DType::f16:
      return over_parts(op.compute.data<f16>(), HWY_DYNAMIC_DISPATCH(update_f16));
    case DType::bf16:
      return over_parts(op.compute.data<bf16>(), HWY_DYNAMIC_DISPATCH(update_bf16));
    default:
      return over_parts(op.compute.data<float>(), HWY_DYNAMIC_DISPATCH(update_f32));
  }
}

}  // namespace accrue::kernels::cpu
#endif
