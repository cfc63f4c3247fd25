#include "kernels/cpu/parallel.h"
#include "kernels/grad_accumulate.h"
#include "kernels/gradient_dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad_accumulate_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

template <class Acc, class T>
void accumulate(Acc* acc, const T* incoming, float scale, bool add, std::int64_t n) {
  const Floats factor = hn::Set(F32(), scale);
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats x = access.load(incoming + i);
    access.store(add ? hn::MulAdd(factor, x, access.load(acc + i)) : hn::Mul(factor, x), acc + i);
  });
}

// Elements [begin, end).
void accumulate_range(const GradAccumulate& op, std::int64_t begin, std::int64_t end) {
  dispatch_gradient(op.acc.tensor.dtype(), [&](auto acc_tag) HWY_ATTR {
    dispatch_float(op.incoming.dtype(), "grad_accumulate", [&](auto tag) HWY_ATTR {
      accumulate(op.acc.tensor.data<decltype(acc_tag)>() + begin, op.incoming.data<decltype(tag)>() + begin, op.scale,
                 op.acc.write == Write::accumulate, end - begin);
    });
  });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(accumulate_range);

// Work below this many elements is not worth another thread.
constexpr std::int64_t grain = 16384;

}  // namespace

void grad_accumulate(const GradAccumulate& op) {
  parallel_for(op.incoming.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(accumulate_range)(op, begin, end);
  });
}

}  // namespace accrue::kernels::cpu
#endif
