#include "core/tape.h"

#include <utility>

namespace accrue {

Tape Tape::inference() {
  MicroBatchContext context;
  context.training = false;
  Tape tape(std::move(context));
  tape.recording_ = false;
  return tape;
}

Tape Tape::nested(Tape& outer) {
  Tape tape(outer.context());
  tape.outer_ = &outer;
  tape.observer_ = outer.observer_;
  tape.poll_ = outer.poll_;
  return tape;
}

void Tape::record(std::string_view name, const Node& output, Backward backward) {
  if (poll_) poll_();
  if (!recording_) return;
  check(recorded_.insert(output.id).second,
        "Tape: {} records an output {} that another operation has produced; one that changes nothing records nothing",
        name, output.shape);
  wanted_.insert(output.id);
  records_.push_back({.name = name, .output = output.id, .backward = std::move(backward)});
}

bool Tape::needs_grad(const Node& x) const {
  return wanted_.contains(x.id) || (outer_ != nullptr && outer_->needs_grad(x));
}

void Tape::require_grad(const Node& x) {
  if (outer_ != nullptr && outer_->needs_grad(x)) return outer_->require_grad(x);
  wanted_.insert(x.id);
  required_.insert(x.id);
}

void Tape::check_not_cut_off(const Node& x) const {
  check(!wanted_.contains(x.base_id),
        "Tape: the gradient of a view {} would not reach the tensor that it is a view of; use nn::reshape", x.shape);
}

GradSlot Tape::grad_slot(const Node& x) {
  if (!wanted_.contains(x.id)) {
    check_not_cut_off(x);
    return outer_ == nullptr ? GradSlot{} : outer_->grad_slot(x);
  }
  Tensor& gradient = grads_[x.id];
  if (!gradient.defined()) {
    gradient = Tensor::empty(x.shape, x.dtype, x.device);
    return {.tensor = gradient, .write = Write::overwrite};
  }
  // A residual sum hands one gradient to both of its operands; adding to one must not change the other.
  if (gradient.shares_storage()) gradient = gradient.clone();
  return {.tensor = gradient, .write = Write::accumulate};
}

GradSlot Tape::grad_slot(const Parameter& parameter) {
  if (observer_) observed_.push_back(parameter);
  if (const Tensor& gradient = parameter.grad(); gradient.defined() && gradient.dtype() != DType::f32)
    return contribution_slot(parameter);
  const GradSlot slot = parameter.grad_slot();
  if (slot.write == Write::overwrite) first_touched_.push_back(parameter);
  return slot;
}

GradSlot Tape::contribution_slot(const Parameter& parameter) {
  check(closure_runs_, "Tape: parameter {} accumulates in {}, so that its slot is for backward closures alone",
        parameter.name(), name_of(parameter.grad().dtype()));
  for (const Contribution& contribution : contributions_) {
    if (contribution.parameter == parameter) return {.tensor = contribution.f32, .write = Write::accumulate};
  }
  contributions_.push_back(
      {.parameter = parameter,
       .f32 = Tensor::empty(parameter.shape(), DType::f32, parameter.grad().device(), Category::workspace)});
  return {.tensor = contributions_.back().f32, .write = Write::overwrite};
}

void Tape::contribute(const Node& x, const Tensor& gradient,
                      const std::function<void(const GradSlot&, const Tensor&)>& add) {
  if (!wanted_.contains(x.id)) {
    check_not_cut_off(x);
    if (outer_ != nullptr) outer_->contribute(x, gradient, add);
    return;
  }
  check(gradient.shape() == x.shape, "Tape: a gradient of shape {} for a tensor of shape {}", gradient.shape(),
        x.shape);
  if (Tensor& mine = grads_[x.id]; !mine.defined()) {
    mine = gradient;
  } else {
    add(grad_slot(x), gradient);
  }
}

bool Tape::has_grad(const Node& y) const {
  const auto found = grads_.find(y.id);
  return found != grads_.end() && found->second.defined();
}

Tensor Tape::grad(const Node& y) const {
  check(has_grad(y), "Tape: no gradient has been written for this tensor of shape {}", y.shape);
  return grads_.at(y.id);
}

Tensor Tape::take_grad(const Node& y) {
  Tensor gradient = grad(y);
  if (!required_.contains(y.id)) grads_.erase(y.id);
  return gradient;
}

void Tape::backward(const Node& loss) {
  check(recording_, "Tape: an inference tape has nothing to unwind");
  root_ = loss.id;
  check(recorded_.contains(root_),
        "Tape: backward() needs the output of a recorded loss, but this tensor is not on the tape");
  backward();
}

void Tape::unwind(const Record& record) {
  first_touched_.clear();
  closure_runs_ = true;
  try {
    record.backward(*this);
  } catch (...) {
    for (const Parameter& parameter : first_touched_) parameter.discard_gradient();
    contributions_.clear();
    closure_runs_ = false;
    throw;
  }
  closure_runs_ = false;
  for (const Contribution& contribution : std::exchange(contributions_, {}))
    contribution.parameter.add_contribution(contribution.f32);
  if (observer_) tell_observer();
}

void Tape::tell_observer() {
  for (const Parameter& parameter : std::exchange(observed_, {})) observer_(parameter);
}

void Tape::backward() {
  while (!records_.empty()) {
    if (poll_) poll_();
    Record record = std::move(records_.back());
    records_.pop_back();
    const auto gradient = grads_.find(record.output);
    const bool reached = record.output == root_ || (gradient != grads_.end() && gradient->second.defined());
    if (reached) unwind(record);
    // Nothing recorded earlier can consume this output, so its gradient has been read for the last time.
    if (!required_.contains(record.output)) grads_.erase(record.output);
  }
  std::erase_if(grads_, [&](const auto& gradient) { return !required_.contains(gradient.first); });
  first_touched_.clear();
  recorded_.clear();
  wanted_.clear();
}

}  // namespace accrue
