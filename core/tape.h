// Reverse-mode differentiation: the backward closures of one micro-batch, in order.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/grad_slot.h"
#include "core/parameter.h"
#include "core/rng.h"
#include "core/tensor.h"

namespace accrue {

// What the operations of one micro-batch need to know about the window they belong to.
struct MicroBatchContext {
  RandomKey random;        // seed, window and the index in the window of this micro-batch's first sample
  bool training = true;    // dropout is active
  bool mean_loss = false;  // the loss's gradient is of the micro-batch's mean instead of its sum (contract 2's option)
  Tensor loss_scale;       // f32 [1] on the device, or undefined for 1; the loss kernel multiplies its gradient by it
};

// A tensor as the tape knows it: its identity and what a gradient for it must look like, without its bytes. Closures
// capture nodes of the tensors whose values they do not need, so that those values can be freed before the backward
// pass.
struct Node {
  std::uint64_t id = 0;
  std::uint64_t base_id = 0;  // of the tensor that it is a view of
  Shape shape;
  DType dtype = DType::f32;
  Device device;

  Node() = default;
  Node(const Tensor& tensor)  // NOLINT(google-explicit-constructor): every tensor is a node
      : id(tensor.id()), base_id(tensor.base_id()), shape(tensor.shape()), dtype(tensor.dtype()) {
    if (tensor.defined()) device = tensor.device();
  }
};

// Operations record themselves while the forward pass runs; backward() unwinds them. The tape owns the gradients of
// activations: each is allocated at its first use, released once the operation that produced its tensor has been
// unwound, and so are the tensors which that operation's closure saved. Wrong uses throw Error(internal).
class Tape {
 public:
  using Backward = std::function<void(Tape&)>;

  explicit Tape(MicroBatchContext context = {}) : context_(std::move(context)) {}
  // A tape that records nothing: for evaluation and sampling, memory is freed as soon as the next layer has read it.
  static Tape inference();
  // A tape for a part of `outer`'s forward pass that runs again while `outer` unwinds (recomputation): gradients of
  // tensors that it has not recorded itself are `outer`'s. `outer` must neither move nor end before it.
  static Tape nested(Tape& outer);
  Tape(Tape&&) = default;
  Tape& operator=(Tape&&) = default;

  // Is told, after each closure, whose gradients it has contributed to; for looking into a backward pass.
  using Observer = std::function<void(const Parameter&)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

  // Is called between operations: when one is recorded, and before each closure. What it throws comes through record()
  // and backward(): whoever cannot wait for the end of a micro-batch ends it so.
  using Poll = std::function<void()>;
  void poll_with(Poll poll) { poll_ = std::move(poll); }

  const MicroBatchContext& context() const { return context_; }
  bool recording() const { return recording_; }
  void stop_recording() { recording_ = false; }

  // `output`'s gradient is what `backward` reads (grad(output)); if nobody wrote it, `backward` is skipped. An
  // operation that returns its operand as it is records nothing: a tensor has one producer, and a second record throws.
  void record(std::string_view name, const Node& output, Backward backward);
  // Whether a gradient with respect to x is wanted: x came out of a recorded operation, or was declared by
  // require_grad, here or on the outer tape.
  bool needs_grad(const Node& x) const;
  // Asks for x's gradient (x is a model's input, say), which grad(x) gives from backward() on, as long as the tape
  // lives. What the outer tape wants already is asked of that one.
  void require_grad(const Node& x);

  // Where to put a contribution to x's gradient; a slot with no tensor if none is wanted. The first contribution
  // overwrites, later ones accumulate; a buffer that others share is copied before it is accumulated into. Use a slot
  // before asking for the next one: if both are of the same tensor, the second contribution must find the first
  // written. Throws if x is a view of a tensor whose gradient is wanted: the contribution would be lost.
  GradSlot grad_slot(const Node& x);
  // The same for a parameter's gradient; always f32. If the closure that asks throws before it has written the first
  // contribution, the parameter is fresh again, so that what is in its buffer is never added to. Where the gradient
  // accumulates in another dtype, the slot is of a buffer that lives as long as the closure runs; what the closure has
  // put there is then added to the gradient, rounded once, or dropped if the closure throws. Such a slot is for
  // closures alone: elsewhere this throws.
  GradSlot grad_slot(const Parameter& parameter);
  // Offers a finished tensor as a contribution to x's gradient: taken over without a copy when it is the first one.
  // Otherwise it is added by `add(slot, gradient)`. Throws as grad_slot() does, or if the shapes differ.
  void contribute(const Node& x, const Tensor& gradient,
                  const std::function<void(const GradSlot&, const Tensor&)>& add);
  bool has_grad(const Node& y) const;
  // The gradient of y; throws if there is none.
  Tensor grad(const Node& y) const;
  // The same, and the tape forgets it unless it was asked for by require_grad: a closure that is its only owner
  // (Tensor::shares_storage) may then work in place.
  Tensor take_grad(const Node& y);

  // Marks `loss` (the output of a loss operation) as the root and unwinds everything. A tape unwinds once. Throws if
  // nothing recorded on this tape has produced the loss. What a closure throws comes through; the gradients of the
  // parameters then lack contributions, and the window has to start again (ParameterStore::clear_gradients).
  void backward(const Node& loss);
  // Unwinds with the gradients that contribute() has seeded.
  void backward();

 private:
  struct Record {
    std::string_view name;
    std::uint64_t output;
    Backward backward;
  };
  // Of a parameter whose gradient is not f32, by the closure that runs.
  struct Contribution {
    Parameter parameter;
    Tensor f32;
  };
  void check_not_cut_off(const Node& x) const;
  GradSlot contribution_slot(const Parameter& parameter);
  void unwind(const Record& record);
  void tell_observer();

  bool recording_ = true;
  MicroBatchContext context_;
  std::vector<Record> records_;
  std::unordered_set<std::uint64_t> recorded_, required_, wanted_;  // wanted: the other two
  std::unordered_map<std::uint64_t, Tensor> grads_;
  std::vector<Parameter> first_touched_;  // by the closure that runs
  std::vector<Contribution> contributions_;
  std::vector<Parameter> observed_;  // whose slots the closure that runs has asked for
  Observer observer_;
  Poll poll_;
  bool closure_runs_ = false;
  Tape* outer_ = nullptr;  // of a nested tape
  std::uint64_t root_ = 0;
};

}  // namespace accrue
