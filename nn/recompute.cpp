#include <utility>

#include "nn/functional.h"
#include "nn/gradients.h"

namespace accrue::nn {
namespace {

// The same context, nothing recorded: dropout draws the numbers that the recording pass will draw again.
Tape unrecorded(const MicroBatchContext& context) {
  Tape tape(context);
  tape.stop_recording();
  return tape;
}

}  // namespace

Tensor recompute(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& function) {
  if (!tape.recording()) return function(tape, x);
  Tape forward_only = unrecorded(tape.context());
  Tensor y = function(forward_only, x);
  // Dropout in evaluation, an empty sequence: what comes back as it went in has its gradient already.
  if (y.id() == x.id() || tape.needs_grad(y)) return y;
  tape.record("recompute", y, [y_node = Node(y), x, function](Tape& outer) {
    Tape inner = Tape::nested(outer);
    const Tensor again = function(inner, x);
    check(inner.needs_grad(again), "recompute: what the function returns must come out of a recorded operation");
    inner.contribute(again, outer.take_grad(y_node), add_gradient);
    inner.backward();
  });
  return y;
}

}  // namespace accrue::nn
