#include "core/parameter.h"

#include <algorithm>
#include <utility>

#include "core/rng.h"

namespace accrue {
namespace {

constexpr std::int64_t slice_alignment = Allocator::alignment / sizeof(float);

std::int64_t padded(std::int64_t count) { return (count + slice_alignment - 1) / slice_alignment * slice_alignment; }

// Element e of parameter p draws from counter {e, 0, p, ~0}: ~0 is a site that no dropout has.
std::vector<float> initial_values(const Initializer& initializer, std::int64_t count, std::uint64_t seed,
                                  std::uint32_t index) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    auto& value = values[static_cast<std::size_t>(i)];
    switch (initializer.kind) {
      case Initializer::Kind::zeros:
        value = 0;
        break;
      case Initializer::Kind::ones:
        value = 1;
        break;
      case Initializer::Kind::normal:
      case Initializer::Kind::uniform: {
        const Philox4 random =
            philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), index, ~0u}, seed);
        value = initializer.scale * (initializer.kind == Initializer::Kind::normal ? normal(random[0], random[1])
                                                                                   : 2 * uniform(random[0]) - 1);
        break;
      }
    }
  }
  return values;
}

template <class T>
void store_as(const Tensor& destination, const std::vector<float>& values) {
  const std::vector<T> converted(values.begin(), values.end());
  destination.copy_from_host(std::span<const T>(converted));
}

}  // namespace

const Tensor& Parameter::value() const {
  check(state_->value.defined(), "parameter {} is used before ParameterStore::allocate()", state_->name);
  return state_->value;
}
const Tensor& Parameter::master() const { return state_->master; }
const Tensor& Parameter::grad() const { return state_->grad; }

GradSlot Parameter::grad_slot() const {
  check(state_->grad.defined(), "parameter {} gets a gradient before ParameterStore::allocate()", state_->name);
  const bool first = std::exchange(state_->fresh, false);
  return {.tensor = state_->grad, .write = first ? Write::overwrite : Write::accumulate};
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
  parameters_.push_back(parameter);
  return parameter;
}

void ParameterStore::allocate(Device device, std::uint64_t seed, DType compute) {
  check(!allocated(), "ParameterStore: allocate() is called twice");
  check(is_float(compute), "ParameterStore: the compute dtype must be f32, f16 or bf16, but is {}", name_of(compute));
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
  gradients_ = Tensor::zeros({total_count_}, DType::f32, device, Category::gradients);
  for (const Parameter& parameter : parameters_) {
    Parameter::State& state = *parameter.state_;
    state.master = slice(master_, parameter);
    state.value = compute == DType::f32 ? state.master : slice(values_, parameter);
    state.grad = slice(gradients_, parameter);
    const std::vector<float> values = initial_values(state.initializer, state.shape.numel(), seed, state.index);
    store_as<float>(state.master, values);
    if (compute == DType::bf16) store_as<bf16>(state.value, values);
    if (compute == DType::f16) store_as<f16>(state.value, values);
  }
}

Parameter ParameterStore::find(std::string_view name) const {
  const auto found =
      std::find_if(parameters_.begin(), parameters_.end(), [&](const Parameter& p) { return p.name() == name; });
  return found == parameters_.end() ? Parameter() : *found;
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
