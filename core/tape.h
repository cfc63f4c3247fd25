// Reverse-mode differentiation: the backward closures of one micro-batch, in order.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/grad_slot.h"
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
  Shape shape;
  DType dtype = DType::f32;
  Device device;

  Node() = default;
  Node(const Tensor& tensor)  // NOLINT(google-explicit-constructor): every tensor is a node
      : id(tensor.id()), shape(tensor.shape()), dtype(tensor.dtype()) {
    if (tensor.defined()) device = tensor.device();
  }
};

// Operations record themselves while the forward pass runs; backward() unwinds them. The tape owns the gradients of
// activations: each is allocated at its first use, released once the operation that produced its tensor has been
// unwound, and so are the tensors which that operation's closure saved.
class Tape {
 public:
  using Backward = std::function<void(Tape&)>;

  explicit Tape(MicroBatchContext context = {}) : context_(std::move(context)) {}
  // A tape that records nothing: for evaluation and sampling, memory is freed as soon as the next layer has read it.
  static Tape inference();
  Tape(Tape&&) = default;
  Tape& operator=(Tape&&) = default;

  const MicroBatchContext& context() const { return context_; }
  bool recording() const { return recording_; }
  void stop_recording() { recording_ = false; }

  // `output`'s gradient is what `backward` reads (grad(output)); if nobody wrote it, `backward` is skipped.
  void record(std::string_view name, const Node& output, Backward backward);
  // Whether a gradient with respect to x is wanted: x came out of a recorded operation, or was declared by
  // require_grad.
  bool needs_grad(const Node& x) const;
  void require_grad(const Node& x);

  // Where to put a contribution to x's gradient; a slot with no tensor if none is wanted. The first contribution
  // overwrites, later ones accumulate; a buffer that others share is copied before it is accumulated into. Use a slot
  // before asking for the next one: if both are of the same tensor, the second contribution must find the first
  // written.
  GradSlot grad_slot(const Node& x);
  // Offers a finished tensor as a contribution to x's gradient: taken over without a copy when it is the first one.
  // Otherwise it is added by `add(slot, gradient)`.
  void contribute(const Node& x, const Tensor& gradient,
                  const std::function<void(const GradSlot&, const Tensor&)>& add);
  bool has_grad(const Node& y) const;
  // The gradient of y; throws if there is none.
  Tensor grad(const Node& y) const;
  // The same, and the tape forgets it: a closure that is its only owner may then work in place.
  Tensor take_grad(const Node& y);
  // Declares gradients of x to be those of `outer`: recomputation unwinds a tape of its own into the surrounding one.
  void delegate_grad(const Node& x, Tape& outer);

  // Marks `loss` (the output of a loss operation) as the root and unwinds everything. A tape unwinds once.
  void backward(const Node& loss);
  // Unwinds with the gradients that contribute() has seeded.
  void backward();

 private:
  struct Record {
    std::string_view name;
    std::uint64_t output;
    Backward backward;
  };
  bool recording_ = true;
  MicroBatchContext context_;
  std::vector<Record> records_;
  std::unordered_set<std::uint64_t> wanted_;
  std::unordered_map<std::uint64_t, Tensor> grads_;
  std::unordered_map<std::uint64_t, Tape*> delegated_;
  std::uint64_t root_ = 0;
};

}  // namespace accrue
