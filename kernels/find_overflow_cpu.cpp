#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/cpu/step_state.h"
#include "kernels/find_overflow.h"
#include "kernels/gradient_dtype.h"

namespace accrue::kernels::cpu {
namespace {

// The last slice with an element that is not finite, or -1.
template <class G>
std::int32_t last_overflowed(const G* gradient, std::span<const GradientSlice> slices) {
  const auto is_finite = [](G x) { return std::isfinite(static_cast<float>(x)); };
  for (std::size_t i = slices.size(); i-- > 0;) {
    const G* begin = gradient + slices[i].begin;
    if (!std::all_of(begin, begin + slices[i].count, is_finite)) return static_cast<std::int32_t>(i);
  }
  return -1;
}

}  // namespace

void find_overflow(const FindOverflow& op) {
  StepState& state = state_of(op.state);
  if (state.found_inf == 0) return;
  const std::span slices(reinterpret_cast<const GradientSlice*>(op.slices.raw()),
                         static_cast<std::size_t>(op.slices.numel()) / sizeof(GradientSlice));
  dispatch_gradient(op.gradient.dtype(), [&](auto tag) {
    state.overflowed = std::max(state.overflowed, last_overflowed(op.gradient.data<decltype(tag)>(), slices));
  });
}

}  // namespace accrue::kernels::cpu
