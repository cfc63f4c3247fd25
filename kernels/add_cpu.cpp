#include "kernels/add.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/add_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void add_range(float* out, const float* a, const float* b, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access)
                      HWY_ATTR { access.store(hn::Add(access.load(a + i), access.load(b + i)), out + i); });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(add_range);

void add(const Add& op) {
  require_f32("add", {{"a", op.a}});
  float* out = op.out.data<float>();
  const float *a = op.a.data<float>(), *b = op.b.data<float>();
  // About three microseconds of work: several times what waking a thread costs.
  constexpr std::int64_t grain = 16384;
  parallel_for(op.out.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_range)(out + begin, a + begin, b + begin, end - begin);
  });
}

}  // namespace accrue::kernels::cpu
#endif
