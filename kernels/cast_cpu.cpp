#include "kernels/cast.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cast_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// Through f32, which holds every f16 and bf16 exactly: only the store rounds.
template <class Out, class In>
HWY_INLINE void convert(Out* out, const In* x, std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR { access.store(access.load(x + i), out + i); });
}

template <class In>
HWY_INLINE void convert_from(DType to, std::byte* out, const In* x, std::int64_t begin, std::int64_t end) {
  dispatch_float(to, "cast", [&](auto tag) HWY_ATTR {
    convert(reinterpret_cast<decltype(tag)*>(out) + begin, x + begin, end - begin);
  });
}

void convert_range(DType to, DType from, std::byte* out, const std::byte* x, std::int64_t begin, std::int64_t end) {
  dispatch_float(from, "cast", [&](auto tag) HWY_ATTR {
    convert_from(to, out, reinterpret_cast<const decltype(tag)*>(x), begin, end);
  });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(convert_range);

void cast(const Cast& op) {
  constexpr std::int64_t grain = 16384;
  parallel_for(op.x.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    // A copy and not a conversion, so that a signalling NaN keeps its bits too.
    if (op.out.dtype() == op.x.dtype()) {
      const std::size_t size = size_of(op.x.dtype());
      std::memmove(op.out.raw() + static_cast<std::size_t>(begin) * size,
                   op.x.raw() + static_cast<std::size_t>(begin) * size, static_cast<std::size_t>(end - begin) * size);
      return;
    }
    HWY_DYNAMIC_DISPATCH(convert_range)(op.out.dtype(), op.x.dtype(), op.out.raw(), op.x.raw(), begin, end);
  });
}

}  // namespace accrue::kernels::cpu
#endif
