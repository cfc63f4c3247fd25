// Trainable parameters: named slices of a few flat buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/grad_slot.h"
#include "core/tensor.h"

namespace accrue {

// How a parameter's first values are drawn; keyed by (seed, parameter, element), so they depend on nothing else.
struct Initializer {
  enum class Kind { zeros, ones, normal, uniform };
  Kind kind = Kind::zeros;
  float scale = 0;  // standard deviation of the normal, bound of the uniform in [-scale, scale)

  static Initializer zeros() { return {.kind = Kind::zeros}; }
  static Initializer ones() { return {.kind = Kind::ones}; }
  static Initializer normal(float deviation) { return {.kind = Kind::normal, .scale = deviation}; }
  static Initializer uniform(float bound) { return {.kind = Kind::uniform, .scale = bound}; }
};

// Puts an f32 contribution into a gradient of another dtype: acc = contribution where the slot overwrites, else acc +
// contribution, computed in f32 and rounded once. core/ has no arithmetic on tensors, so the layer above hands it in.
using GradientFold = void (*)(const GradSlot& acc, const Tensor& contribution);

// A handle to one named parameter; copies (a tied embedding) are the same parameter. An undefined one throws whatever
// it is asked: its layer has not been registered.
class Parameter {
 public:
  Parameter() = default;
  bool defined() const { return state_ != nullptr; }
  const std::string& name() const { return state().name; }
  const Shape& shape() const { return state().shape; }

  std::int64_t offset() const { return state().offset; }  // elements from the start of the store's flat buffers

  // Buffers of the store. value() throws before ParameterStore::allocate(); the others are undefined tensors until
  // then.
  const Tensor& value() const;   // what forward and backward read, in the compute dtype
  const Tensor& master() const;  // f32, what the optimizer updates; the same tensor as value() when computing in f32
  const Tensor& grad() const;    // in the dtype that gradients accumulate in; means nothing while fresh()
  // True until the first contribution after a clear: the gradient then reads as zero, whatever the buffer holds.
  bool fresh() const { return state().fresh; }
  // Weight decay applies to tensors of two or more dimensions.
  bool decays() const { return state().shape.rank() >= 2; }

  // Where to put a contribution: the first one of a window overwrites, the others accumulate (contract 10, 11). Whoever
  // takes a slot writes it, or calls discard_gradient() (f32 only); a closure on a tape asks Tape::grad_slot, which
  // does that where the closure throws. Throws before ParameterStore::allocate(), and where the gradient is not f32:
  // kernels compute contributions in f32, which add_contribution() takes.
  GradSlot grad_slot() const;
  // Adds a finished contribution, f32 of the parameter's shape, to a gradient of any dtype, rounding once; the first of
  // a window overwrites. Throws as a store without fold_gradients_with() does.
  void add_contribution(const Tensor& contribution) const;
  // Puts back what a checkpoint kept of an open window: these bytes, of grad()'s dtype and shape, are its gradient.
  void restore_gradient(std::span<const std::byte> bytes) const;
  // The gradient is fresh again, whatever was contributed to it in this window.
  void discard_gradient() const { state().fresh = true; }

  friend bool operator==(const Parameter&, const Parameter&) = default;  // the same parameter

 private:
  friend class ParameterStore;
  struct State {
    std::string name;
    Shape shape;
    Initializer initializer;
    std::uint32_t index = 0;
    std::int64_t offset = 0;  // elements from the start of the flat buffers
    bool fresh = true;
    Tensor value, master, grad;
    GradientFold fold = nullptr;
  };
  State& state() const;
  std::shared_ptr<State> state_;
};

// A run of the flat buffers to which the optimizer applies one weight decay.
struct ParameterGroup {
  std::int64_t offset = 0;  // elements
  std::int64_t count = 0;
  bool decay = false;
};

// Collects parameters, then lays them out in flat buffers: compute values, f32 master values, gradients. Decaying
// parameters come first, so that each group is one run; slices start at multiples of 16 elements (64 bytes of f32, 32
// of a half), and the padding between them stays zero in every buffer.
class ParameterStore {
 public:
  ParameterStore() = default;
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  // Before allocate(), or it throws. Names are unique; an empty name or a repeated one throws.
  Parameter add(std::string name, const Shape& shape, Initializer initializer);
  // How a tape's contributions get into gradients that do not accumulate in f32. Before allocate(); nn::initialize does
  // it.
  void fold_gradients_with(GradientFold fold);
  // Makes the buffers and draws the initial values. Gradients accumulate in `accumulate`: f32, or bf16 for half the
  // memory and a sum that stops growing once it is 2^8 times its terms (contract 9). Throws Error(memory) where the
  // buffers do not fit.
  void allocate(Device device, std::uint64_t seed, DType compute = DType::f32, DType accumulate = DType::f32);
  bool allocated() const { return master_.defined(); }
  // Numbers the places of a model that draw random numbers (RandomKey's site): 0, 1, 2, …
  std::uint32_t new_random_site() { return random_sites_++; }

  const std::vector<Parameter>& parameters() const { return parameters_; }  // in the order of add()
  Parameter find(std::string_view name) const;                              // undefined if there is none
  std::int64_t parameter_count() const;                                     // elements, padding not counted

  // Flat buffers, padding included.
  const Tensor& values() const { return values_; }
  const Tensor& master() const { return master_; }
  const Tensor& gradients() const { return gradients_; }
  std::vector<ParameterGroup> groups() const;
  // The slice of a flat buffer of the same layout (an optimizer's m or v) that belongs to a parameter; throws for a
  // buffer of another size.
  Tensor slice(const Tensor& flat, const Parameter& parameter) const;
  DType compute_dtype() const { return values_.dtype(); }
  DType accumulate_dtype() const { return gradients_.dtype(); }

  // Starts a new window: every gradient reads as zero from here on; nothing is written.
  void clear_gradients();
  // Before the flat gradient buffer is read as a whole: stores zeros where no contribution arrived in this window.
  void settle_gradients();

 private:
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string_view, std::size_t> by_name_;  // the names are the parameters' own
  std::uint32_t random_sites_ = 0;
  Tensor values_, master_, gradients_;
  GradientFold fold_ = nullptr;
  std::int64_t decay_count_ = 0, total_count_ = 0;
};

}  // namespace accrue
