#include "kernels/adamw.h"

#include "kernels/adamw_step.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/step_state.h"
#include "kernels/gradient_dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adamw_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// Where the elements of one part lie; T is the dtype of the compute copy, null where there is none, G the gradient's.
template <class T, class G>
struct AdamWPart {
  float *master, *m, *v;
  T* compute;
  const G* gradient;
  std::int64_t count;
};

// Plain stores: every line written, but for the compute copy's, was read just before and is in the cache already.
template <bool copies, class T, class G>
void update(const AdamWPart<T, G>& part, const AdamWStep& s) {
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

template <class T, class G>
AdamWPart<T, G> part_of(const AdamW& op, std::int64_t begin, std::int64_t end) {
  return {.master = op.master.data<float>() + begin,
          .m = op.m.data<float>() + begin,
          .v = op.v.data<float>() + begin,
          .compute = op.compute.defined() ? op.compute.data<T>() + begin : nullptr,
          .gradient = op.gradient.data<G>() + begin,
          .count = end - begin};
}

// Elements [begin, end).
void update_range(const AdamW& op, const AdamWStep& s, std::int64_t begin, std::int64_t end) {
  dispatch_gradient(op.gradient.dtype(), [&](auto gradient) HWY_ATTR {
    using G = decltype(gradient);
    if (!op.compute.defined()) return update<false>(part_of<float, G>(op, begin, end), s);
    dispatch_float(op.compute.dtype(), "adamw",
                   [&](auto compute) HWY_ATTR { update<true>(part_of<decltype(compute), G>(op, begin, end), s); });
  });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(update_range);

constexpr std::int64_t grain = 4096;  // elements

}  // namespace

void adamw(const AdamW& op) {
  const StepState& state = state_of(op.state);
  if (state.apply == 0) return;
  const AdamWStep step = adamw_step(hyper_parameters_of(op), state);
  parallel_for(op.master.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(update_range)(op, step, begin, end);
  });
}

}  // namespace accrue::kernels::cpu
#endif
