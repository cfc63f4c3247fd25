#include "core/parameter.h"

#include <algorithm>
#include <array>
#include <span>
#include <tuple>
#include <utility>

#include "core/rng.h"

namespace accrue {
namespace {

constexpr std::int64_t slice_alignment = Allocator::alignment / sizeof(float);

std::int64_t padded(std::int64_t count) { return (count + slice_alignment - 1) / slice_alignment * slice_alignment; }

// Element e of parameter p draws from counter {e, 0, p, ~0}: ~0 is a site that no dropout has.
float initial_value(const Initializer& initializer, std::int64_t element, std::uint64_t seed, std::uint32_t index) {
  using Kind = Initializer::Kind;
  if (initializer.kind == Kind::zeros) return 0;
  if (initializer.kind == Kind::ones) return 1;
  const Philox4 random =
      philox4x32({static_cast<std::uint32_t>(element), static_cast<std::uint32_t>(element >> 32), index, ~0u}, seed);
  return initializer.scale *
         (initializer.kind == Kind::normal ? normal(random[0], random[1]) : 2 * uniform(random[0]) - 1);
}

// The part of a parameter's slice that goes through the host at once: wherever the slice lies, drawing its values takes
// no memory that the allocator does not know.
using Chunk = std::array<float, 4096>;

template <class T>
void store_as(const Tensor& destination, std::int64_t start, std::span<const float> values) {
  std::array<T, std::tuple_size_v<Chunk>> converted;
  std::transform(values.begin(), values.end(), converted.begin(), [](float value) { return static_cast<T>(value); });
  const auto count = static_cast<std::int64_t>(values.size());
  destination.view({count}, start).copy_from_host(std::span<const T>(converted.data(), values.size()));
}

}  // namespace

Parameter::State& Parameter::state() const {
  check(defined(),
        "a parameter is used before its layer is registered with a ParameterStore (nn::initialize does both)");
  return *state_;
}

const Tensor& Parameter::value() const {
  check(state().value.defined(), "parameter {} is used before ParameterStore::allocate()", name());
  return state_->value;
}
const Tensor& Parameter::master() const { return state().master; }
const Tensor& Parameter::grad() const { return state().grad; }

GradSlot Parameter::grad_slot() const {
  check(state().grad.defined(), "parameter {} gets a gradient before ParameterStore::allocate()", name());
  check(state_->grad.dtype() == DType::f32,
        "parameter {} accumulates in {}, but kernels write f32: take the slot from a tape", name(),
        name_of(state_->grad.dtype()));
  const bool first = std::exchange(state_->fresh, false);
  return {.tensor = state_->grad, .write = first ? Write::overwrite : Write::accumulate};
}

void Parameter::add_contribution(const Tensor& contribution) const {
  check(state().grad.defined(), "parameter {} gets a gradient before ParameterStore::allocate()", name());
  check(state_->fold != nullptr,
        "parameter {} gets a contribution, but its store has no way to add it: ParameterStore::fold_gradients_with()",
        name());
  state_->fold({.tensor = state_->grad, .write = state_->fresh ? Write::overwrite : Write::accumulate}, contribution);
  state_->fresh = false;
}

void Parameter::restore_gradient(std::span<const std::byte> bytes) const {
  check(state().grad.defined(), "parameter {} gets a gradient before ParameterStore::allocate()", name());
  state_->grad.copy_bytes_from_host(bytes);
  state_->fresh = false;
}

Parameter ParameterStore::add(std::string name, const Shape& shape, Initializer initializer) {
  check(!allocated(), "ParameterStore: parameter {} is added after allocate()", name);
  check(!name.empty(), "ParameterStore: a parameter needs a name");
  check(!find(name).defined(), "ParameterStore: two parameters are named {}", name);
  Parameter parameter;
  parameter.state_ = std::make_shared<Parameter::State>();
  parameter.state_->name = std::move(name);
  parameter.state_->shape = shape;
  parameter.state_->initializer = initializer;
  parameter.state_->index = static_cast<std::uint32_t>(parameters_.size());
  by_name_.emplace(parameter.name(), parameters_.size());
  parameters_.push_back(parameter);
  return parameter;
}

void ParameterStore::fold_gradients_with(GradientFold fold) {
  check(!allocated(), "ParameterStore: fold_gradients_with() after allocate()");
  fold_ = fold;
}

void ParameterStore::allocate(Device device, std::uint64_t seed, DType compute, DType accumulate) {
  check(!allocated(), "ParameterStore: allocate() is called twice");
  check(is_float(compute), "ParameterStore: the compute dtype must be f32, f16 or bf16, but is {}", name_of(compute));
  check(accumulate == DType::f32 || accumulate == DType::bf16,
        "ParameterStore: gradients must accumulate in f32 or bf16, but the dtype is {}", name_of(accumulate));
  check(accumulate == DType::f32 || fold_ != nullptr,
        "ParameterStore: gradients that accumulate in {} need fold_gradients_with() first; nn::initialize does both",
        name_of(accumulate));
  total_count_ = 0;
  for (const bool decays : {true, false}) {
    for (const Parameter& parameter : parameters_) {
      if (parameter.decays() != decays) continue;
      parameter.state_->offset = total_count_;
      total_count_ += padded(parameter.shape().numel());
    }
    if (decays) decay_count_ = total_count_;
  }
  master_ = Tensor::zeros({total_count_}, DType::f32, device, Category::parameters);
  values_ = compute == DType::f32 ? master_ : Tensor::zeros({total_count_}, compute, device, Category::parameters);
  gradients_ = Tensor::zeros({total_count_}, accumulate, device, Category::gradients);
  for (const Parameter& parameter : parameters_) {
    Parameter::State& state = *parameter.state_;
    state.master = slice(master_, parameter);
    state.value = compute == DType::f32 ? state.master : slice(values_, parameter);
    state.grad = slice(gradients_, parameter);
    state.fold = fold_;
    Chunk chunk;
    const std::int64_t count = state.shape.numel();
    for (std::int64_t start = 0; start < count; start += std::ssize(chunk)) {
      const std::span values(chunk.data(), static_cast<std::size_t>(std::min(std::ssize(chunk), count - start)));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = initial_value(state.initializer, start + static_cast<std::int64_t>(i), seed, state.index);
      store_as<float>(state.master, start, values);
      if (compute == DType::bf16) store_as<bf16>(state.value, start, values);
      if (compute == DType::f16) store_as<f16>(state.value, start, values);
    }
  }
}

Parameter ParameterStore::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? Parameter() : parameters_[found->second];
}

std::int64_t ParameterStore::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.shape().numel();
  return count;
}

std::vector<ParameterGroup> ParameterStore::groups() const {
  check(allocated(), "ParameterStore: groups() before allocate()");
  std::vector<ParameterGroup> groups;
  if (decay_count_ > 0) groups.push_back({.offset = 0, .count = decay_count_, .decay = true});
  if (total_count_ > decay_count_)
    groups.push_back({.offset = decay_count_, .count = total_count_ - decay_count_, .decay = false});
  return groups;
}

Tensor ParameterStore::slice(const Tensor& flat, const Parameter& parameter) const {
  check(flat.numel() == total_count_, "ParameterStore: a flat buffer has {} elements, but this one has {}",
        total_count_, flat.numel());
  return flat.view(parameter.shape(), parameter.state_->offset);
}

void ParameterStore::clear_gradients() {
  for (const Parameter& parameter : parameters_) parameter.state_->fresh = true;
}

void ParameterStore::settle_gradients() {
  for (const Parameter& parameter : parameters_) {
    if (std::exchange(parameter.state_->fresh, false)) parameter.state_->grad.fill_zero();
  }
}

}  // namespace accrue
