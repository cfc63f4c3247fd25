#include <cmath>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/step_state.h"
#include "kernels/gradient_check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gradient_check_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// As many elements as d has lanes, in f64.
template <class D>
HWY_INLINE auto load_as_f64(D d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D>(), from));
}
template <class D>
HWY_INLINE auto load_as_f64(D d, const bf16* from) {
  const hn::Rebind<std::uint16_t, D> d16;
  const hn::Rebind<std::uint32_t, D> d32;
  const auto bits = hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(from)));
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<float, D>(), hn::ShiftLeft<16>(bits)));
}

HWY_INLINE double square(float x) { return static_cast<double>(x) * static_cast<double>(x); }

// Sum of squares in f64, where the square of any finite f32 fits; the sum is then finite unless an element is not.
template <class G>
double sum_of_squares(const G* x, std::int64_t n) {
  // Sixteen partial sums whatever the width of the vectors: the same bits with every instruction set.
  constexpr std::int64_t partial_sums = 16;
  const hn::CappedTag<double, 8> d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  HWY_ALIGN double sums[partial_sums] = {};
  const std::int64_t whole = n / partial_sums * partial_sums;
  for (std::int64_t i = 0; i < whole; i += partial_sums) {
    for (std::int64_t j = 0; j < partial_sums; j += width) {
      const auto v = load_as_f64(d, x + i + j);
      // The square of an f32 is exact in f64: with and without FMA the same.
      hn::Store(hn::Add(hn::Load(d, sums + j), hn::Mul(v, v)), d, sums + j);
    }
  }
  for (std::int64_t i = whole; i < n; ++i) sums[i - whole] += square(static_cast<float>(x[i]));
  for (std::int64_t step = partial_sums / 2; step > 0; step /= 2)
    for (std::int64_t j = 0; j < step; ++j) sums[j] += sums[j + step];
  return sums[0];
}

double sum_of_squares_f32(const float* x, std::int64_t n) { return sum_of_squares(x, n); }
double sum_of_squares_bf16(const bf16* x, std::int64_t n) { return sum_of_squares(x, n); }

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(sum_of_squares_f32);
HWY_EXPORT(sum_of_squares_bf16);

constexpr std::int64_t chunk = 65536;  // elements

// Of elements [begin, end).
double sum_of_squares(const Tensor& gradient, std::int64_t begin, std::int64_t end) {
  if (gradient.dtype() == DType::bf16)
    return HWY_DYNAMIC_DISPATCH(sum_of_squares_bf16)(gradient.data<bf16>() + begin, end - begin);
  return HWY_DYNAMIC_DISPATCH(sum_of_squares_f32)(gradient.data<float>() + begin, end - begin);
}

}  // namespace

void gradient_check(const GradientCheck& op) {
  const std::int64_t n = op.gradient.numel();
  std::vector<double> partial(static_cast<std::size_t>(chunk_count(n, chunk)));
  parallel_chunks(n, chunk, [&](std::int64_t index, std::int64_t begin, std::int64_t end) {
    partial[static_cast<std::size_t>(index)] = sum_of_squares(op.gradient, begin, end);
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  StepState& state = state_of(op.state);
  state.squared_norm = sum;
  // 2^63 squares of the largest f32 do not overflow an f64, so only an infinite or NaN element makes the sum
  // non-finite.
  state.found_inf |= std::isfinite(sum) ? 0 : 1;
}

}  // namespace accrue::kernels::cpu
#endif
