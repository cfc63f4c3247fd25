#include "kernels/cpu/column_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/column_sums.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void add_parts_range(float* destination, bool accumulate, const float* partial, std::int64_t parts, std::int64_t stride,
                     std::int64_t n) {
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR {
    Floats sum = hn::Zero(F32());
    for (std::int64_t part = 0; part < parts; ++part) sum = hn::Add(sum, access.load(partial + part * stride + i));
    access.store(accumulate ? hn::Add(access.load(destination + i), sum) : sum, destination + i);
  });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(add_parts_range);

void add_parts(const GradSlot& destination, const float* partial, std::int64_t parts, std::int64_t stride) {
  float* to = destination.tensor.data<float>();
  const bool accumulate = destination.write == Write::accumulate;
  // A multiple of every vector width, so that no thread has a remainder in the middle.
  const std::int64_t grain = std::max<std::int64_t>(64, 16384 / std::max<std::int64_t>(parts, 1) / 64 * 64);
  parallel_for(destination.tensor.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(add_parts_range)(to + begin, accumulate, partial + begin, parts, stride, end - begin);
  });
}

}  // namespace accrue::kernels::cpu
#endif
