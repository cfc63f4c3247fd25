#include "kernels/find_overflow.h"

#include <cstddef>
#include <span>

#include "kernels/step_state_check.h"

namespace accrue::kernels {

Tensor gradient_slices(const std::vector<GradientSlice>& slices, Device device) {
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(slices.data()), slices.size() * sizeof(GradientSlice));
  const Tensor records =
      Tensor::empty({static_cast<std::int64_t>(bytes.size())}, DType::u8, device, Category::optimizer);
  records.copy_from_host(bytes);
  return records;
}

Tensor slices_of(const ParameterStore& parameters) {
  std::vector<GradientSlice> slices;
  for (const Parameter& parameter : parameters.parameters())
    slices.push_back({.begin = parameter.offset(), .count = parameter.shape().numel()});
  return gradient_slices(slices, parameters.master().device());
}

void find_overflow(const FindOverflow& op) {
  constexpr std::string_view name = "find_overflow";
  require_step_state(name, op.state);
  require_defined(name, {{"gradient", op.gradient}, {"slices", op.slices}});
  require_same_device(name, {{"state", op.state}, {"gradient", op.gradient}, {"slices", op.slices}});
  require_gradient_dtype(name, {"gradient", op.gradient});
  require_dtype(name, {"slices", op.slices}, DType::u8);
  check(op.slices.numel() % static_cast<std::int64_t>(sizeof(GradientSlice)) == 0,
        "{}: slices must be records of {} bytes, as made by gradient_slices, but has {} bytes", name,
        sizeof(GradientSlice), op.slices.numel());
  run_on(op.state, op, ACCRUE_BACKENDS(find_overflow));
}

// The host does not know whether there is one; there is not, as a rule.
OperationCost cost_of(const FindOverflow&) { return {}; }

}  // namespace accrue::kernels
