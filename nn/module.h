// Layers: objects that register named parameters and run a forward function.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "core/parameter.h"
#include "core/tape.h"

namespace accrue::nn {

class Module;

// Where a module registers: the store and a name prefix ("h.0.attn.").
class Registry {
 public:
  explicit Registry(ParameterStore& store) : store_(&store) {}

  Parameter parameter(std::string_view name, const Shape& shape, Initializer initializer) {
    return store_->add(prefix_ + std::string(name), shape, initializer);
  }
  void module(std::string_view name, Module& child);
  // Tells the dropouts of a store's models apart.
  std::uint32_t dropout_site() { return store_->new_random_site(); }

 private:
  ParameterStore* store_;
  std::string prefix_;
};

class Module {
 public:
  virtual ~Module() = default;
  // Called once, before the first forward, which throws otherwise.
  virtual void register_into(Registry registry) = 0;
  virtual Tensor forward(Tape& tape, const Tensor& x) const = 0;
};

inline void Registry::module(std::string_view name, Module& child) {
  Registry scope = *this;
  scope.prefix_ += std::string(name) + ".";
  child.register_into(scope);
}

// Registers the module's parameters and allocates them with their initial values; `compute` is the dtype that forward
// and backward read them in, and so of the activations; gradients accumulate in `accumulate`, f32 or bf16.
void initialize(Module& module, ParameterStore& parameters, std::uint64_t seed = 0, Device device = Device::cpu(),
                DType compute = DType::f32, DType accumulate = DType::f32);

}  // namespace accrue::nn
