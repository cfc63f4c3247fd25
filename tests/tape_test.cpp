#include "core/tape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "testing/compare.h"

namespace accrue::tape_test {
namespace {

using ::testing::ElementsAre;
using testing::error_message;

std::size_t live_activations() { return Allocator::of(Device::cpu()).stats()[Category::activations].live; }

Tensor scalar(float value) { return Tensor::from<float>(std::vector<float>{value}, {1}); }

// What every backward kernel does: store at the first touch, add afterwards.
void put(const GradSlot& slot, float value) {
  if (!slot) return;
  for (std::int64_t i = 0; i < slot.tensor.numel(); ++i) {
    float& element = slot.tensor.data<float>()[i];
    element = slot.write == Write::overwrite ? value : element + value;
  }
}
void add(const GradSlot& slot, const Tensor& gradient) { put(slot, gradient.data<float>()[0]); }

// y = factor * x, and its backward.
Tensor times(Tape& tape, const Tensor& x, float factor) {
  const Tensor y = scalar(factor * x.item<float>());
  tape.record("times", y, [x_node = Node(x), y_node = Node(y), factor](Tape& t) {
    put(t.grad_slot(x_node), factor * t.grad(y_node).item<float>());
  });
  return y;
}

// y = a + b, handing its gradient on as it is.
Tensor sum(Tape& tape, const Tensor& a, const Tensor& b) {
  const Tensor y = scalar(a.item<float>() + b.item<float>());
  tape.record("sum", y, [a_node = Node(a), b_node = Node(b), y_node = Node(y)](Tape& t) {
    t.contribute(a_node, t.grad(y_node), add);
    t.contribute(b_node, t.grad(y_node), add);
  });
  return y;
}

// A tensor whose gradient ends up in `gradient`: an operation without operands, recorded before those that use it.
Tensor leaf(Tape& tape, float value, float& gradient) {
  const Tensor x = scalar(value);
  tape.record("leaf", x, [x_node = Node(x), &gradient](Tape& t) { gradient = t.grad(x_node).item<float>(); });
  return x;
}

// The root: a loss whose gradient with respect to x is one.
Tensor loss_of(Tape& tape, const Tensor& x) {
  const Tensor loss = scalar(x.item<float>());
  tape.record("loss", loss, [x_node = Node(x)](Tape& t) { put(t.grad_slot(x_node), 1); });
  return loss;
}

TEST(Tape, UnwindsInReverseOrder) {
  Tape tape;
  std::vector<int> order;
  Tensor x = scalar(1);
  for (int i = 0; i < 4; ++i) {
    const Tensor y = scalar(1);
    tape.record("step", y, [&order, i, x_node = Node(x)](Tape& t) {
      order.push_back(i);
      put(t.grad_slot(x_node), 1);
    });
    x = y;
  }
  tape.backward(x);
  EXPECT_THAT(order, ElementsAre(3, 2, 1, 0));
}

TEST(Tape, GivesTheProductOfTheFactorsOfAChain) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  tape.backward(loss_of(tape, times(tape, times(tape, x, 3), 7)));
  EXPECT_EQ(dx, 21);
}

TEST(Tape, AddsTheGradientsOfEveryUse) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  const Tensor y = sum(tape, times(tape, x, 2), sum(tape, x, times(tape, x, 10)));
  tape.backward(loss_of(tape, sum(tape, y, x)));
  EXPECT_EQ(dx, 2 + 1 + 10 + 1);
}

TEST(Tape, AddsBothContributionsOfAnOperationThatUsesATensorTwice) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  tape.backward(loss_of(tape, sum(tape, x, x)));
  EXPECT_EQ(dx, 2);
}

TEST(Tape, SkipsOperationsWhoseOutputReachesNoLoss) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  bool ran = false;
  const Tensor unused = scalar(0);
  tape.record("unused", unused, [&ran](Tape&) { ran = true; });
  const Tensor kept = times(tape, x, 3);
  tape.backward(loss_of(tape, kept));
  EXPECT_FALSE(ran);
  EXPECT_EQ(dx, 3);
}

TEST(Tape, AnUnreachedOperationStillReleasesWhatItSaved) {
  Tape tape;
  const std::size_t before = live_activations();
  const Tensor x = scalar(1), loss = loss_of(tape, x), unused = scalar(0);
  tape.record("unused", unused, [saved = Tensor::empty({1000})](Tape&) { FAIL() << saved.numel(); });
  EXPECT_EQ(live_activations(), before + 4032);
  tape.backward(loss);
  EXPECT_EQ(live_activations(), before);
}

TEST(Tape, ReleasesSavedActivationsAndGradientsWhileItUnwinds) {
  constexpr int depth = 5;
  const Shape saved_shape{256, 1024};
  const std::size_t saved_bytes = 256 * 1024 * 4, gradient_bytes = 64;  // of one element, rounded up
  const std::size_t start = live_activations();
  std::vector<std::size_t> at_entry(depth);
  Tape tape;
  Tensor x = scalar(1);
  tape.require_grad(x);
  for (int i = 0; i < depth; ++i) {
    const Tensor y = scalar(1);
    tape.record("layer", y, [&at_entry, i, x_node = Node(x), saved = Tensor::empty(saved_shape)](Tape& t) {
      at_entry[static_cast<std::size_t>(i)] = live_activations();
      put(t.grad_slot(x_node), saved.defined() ? 1 : 0);
    });
    x = y;
  }
  const std::size_t after_forward = live_activations();
  EXPECT_EQ(after_forward, start + depth * saved_bytes);
  tape.backward(x);
  for (std::size_t i = 0; i < depth; ++i) {
    const std::size_t unwound = depth - 1 - i, gradients = unwound == 0 ? 0 : 1;  // the root has none
    EXPECT_EQ(at_entry[i], after_forward - unwound * saved_bytes + gradients * gradient_bytes) << i;
  }
  EXPECT_EQ(live_activations(), start + gradient_bytes);  // of x, which was asked for
}

TEST(Tape, FirstContributionOverwritesAndLaterOnesAccumulateInTheSameBuffer) {
  Tape tape;
  const Tensor x = scalar(0);
  tape.require_grad(x);
  const std::byte* buffer = nullptr;
  {
    const GradSlot first = tape.grad_slot(x);
    EXPECT_EQ(first.write, Write::overwrite);
    EXPECT_EQ(first.tensor.shape(), x.shape());
    buffer = first.tensor.raw();
    put(first, 2);
  }
  const GradSlot second = tape.grad_slot(x);
  EXPECT_EQ(second.write, Write::accumulate);
  EXPECT_EQ(second.tensor.raw(), buffer);
  put(second, 3);
  EXPECT_EQ(tape.grad(x).item<float>(), 5);
}

TEST(Tape, GradientsHaveTheTypeOfTheirTensor) {
  Tape tape;
  const Tensor x = Tensor::zeros({3}, DType::bf16);
  tape.require_grad(x);
  EXPECT_EQ(tape.grad_slot(x).tensor.dtype(), DType::bf16);
}

TEST(Tape, TakesOverAFirstContributionWithoutACopy) {
  Tape tape;
  const Tensor x = scalar(0), gradient = scalar(4);
  tape.require_grad(x);
  tape.contribute(x, gradient, add);
  EXPECT_EQ(tape.grad(x).raw(), gradient.raw());
}

TEST(Tape, CopiesASharedGradientBeforeItAddsToIt) {
  Tape tape;
  const Tensor a = scalar(0), b = scalar(0), gradient = scalar(4);
  tape.require_grad(a);
  tape.require_grad(b);
  tape.contribute(a, gradient, add);
  tape.contribute(b, gradient, add);
  put(tape.grad_slot(a), 10);
  EXPECT_EQ(tape.grad(a).item<float>(), 14);
  EXPECT_EQ(tape.grad(b).item<float>(), 4);
  EXPECT_EQ(gradient.item<float>(), 4);
}

TEST(Tape, CopiesAGradientThatSharesBytesWithAView) {
  Tape tape;
  const Tensor a = scalar(0), both = Tensor::zeros({2});
  tape.require_grad(a);
  tape.contribute(a, both.view({1}, 1), add);
  put(tape.grad_slot(a), 10);
  EXPECT_EQ(tape.grad(a).item<float>(), 10);
  EXPECT_EQ(both.to_vector<float>(), (std::vector<float>{0, 0}));
}

TEST(Tape, TakenGradientsAreForgottenUnlessTheyWereAskedFor) {
  Tape tape;
  const Tensor x = scalar(0), y = times(tape, x, 1);
  put(tape.grad_slot(y), 4);
  const Tensor gradient = tape.take_grad(y);
  EXPECT_EQ(gradient.item<float>(), 4);
  EXPECT_FALSE(gradient.shares_storage());
  EXPECT_FALSE(tape.has_grad(y));
  EXPECT_TRUE(tape.needs_grad(y));
  tape.require_grad(x);
  put(tape.grad_slot(x), 4);
  EXPECT_TRUE(tape.take_grad(x).shares_storage());
  EXPECT_TRUE(tape.has_grad(x));
}

TEST(Tape, WantsNoGradientOfDataOrOfUndefinedTensors) {
  Tape tape;
  const Tensor data = scalar(1);
  EXPECT_FALSE(tape.needs_grad(data));
  EXPECT_FALSE(tape.grad_slot(data));
  EXPECT_FALSE(tape.needs_grad(Tensor()));
  EXPECT_FALSE(tape.grad_slot(Tensor()));
  tape.contribute(data, scalar(1), add);
  EXPECT_FALSE(tape.has_grad(data));
}

TEST(Tape, AViewHasAGradientOfItsOwn) {
  Tape tape;
  const Tensor x = Tensor::zeros({2, 2}), view = x.view({4});
  tape.require_grad(x);
  EXPECT_FALSE(tape.needs_grad(view));
  const std::string cut_off =
      "Tape: the gradient of a view [4] would not reach the tensor that it is a view of; use nn::reshape";
  EXPECT_EQ(error_message([&] { tape.grad_slot(view); }), cut_off);
  EXPECT_EQ(error_message([&] { tape.contribute(view.view({4}), view, add); }), cut_off) << "a view of a view";
  tape.require_grad(view);
  put(tape.grad_slot(view), 1);
  EXPECT_TRUE(tape.has_grad(view));
  EXPECT_FALSE(tape.has_grad(x));
}

// Recomputation: the forward pass runs again on an inner tape, whose gradients of the input are the outer tape's.
Tensor recomputed(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& function) {
  Tape forward_only = Tape::inference();
  const Tensor y = function(forward_only, x);
  tape.record("recomputed", y, [x, y_node = Node(y), function](Tape& outer) {
    Tape inner = Tape::nested(outer);
    inner.contribute(function(inner, x), outer.grad(y_node), add);
    inner.backward();
  });
  return y;
}

TEST(NestedTape, GradientsArriveInTheOuterTape) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  const auto block = [](Tape& t, const Tensor& in) { return sum(t, times(t, in, 3), in); };
  tape.backward(loss_of(tape, sum(tape, recomputed(tape, x, block), times(tape, x, 10))));
  EXPECT_EQ(dx, 3 + 1 + 10);
}

TEST(NestedTape, GradientsGoThroughSeveralLevels) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  const auto block = [](Tape& t, const Tensor& in) {
    return sum(t, recomputed(t, in, [](Tape& u, const Tensor& deep) { return times(u, deep, 3); }), in);
  };
  tape.backward(loss_of(tape, recomputed(tape, x, block)));
  EXPECT_EQ(dx, 4);
}

TEST(NestedTape, CapturedTensorsGetTheirGradientsFromEveryLevel) {
  Tape tape;
  float dx = 0, dcaptured = 0;
  const Tensor x = leaf(tape, 5, dx), captured = leaf(tape, 7, dcaptured);
  const auto block = [&](Tape& t, const Tensor& in) {
    const Tensor inside =
        recomputed(t, in, [&](Tape& u, const Tensor& deep) { return sum(u, deep, times(u, captured, 3)); });
    return sum(t, inside, captured);
  };
  tape.backward(loss_of(tape, sum(tape, recomputed(tape, x, block), times(tape, captured, 10))));
  EXPECT_EQ(dx, 1);
  EXPECT_EQ(dcaptured, 3 + 1 + 10);
}

TEST(NestedTape, WantsNoGradientThatTheOuterTapeDoesNotWant) {
  Tape outer, inner = Tape::nested(outer);
  const Tensor x = scalar(1);
  EXPECT_FALSE(inner.needs_grad(x));
  EXPECT_FALSE(inner.grad_slot(x));
  inner.contribute(x, scalar(1), add);
  EXPECT_FALSE(outer.has_grad(x));
}

TEST(NestedTape, RefusesViewsOfTensorsOfEitherTape) {
  Tape outer, inner = Tape::nested(outer);
  const Tensor theirs = times(outer, scalar(1), 2), own = times(inner, theirs, 2);
  for (const Tensor& x : {theirs, own})
    EXPECT_EQ(error_message([&] {
                inner.grad_slot(x.view({1, 1}));
              }),
              "Tape: the gradient of a view [1, 1] would not reach the tensor that it is a view of; use nn::reshape");
}

TEST(NestedTape, AsksTheOuterTapeForTheGradientsOfItsTensors) {
  Tape outer, inner = Tape::nested(outer);
  const Tensor theirs = times(outer, scalar(1), 2), own = scalar(1);
  inner.require_grad(theirs);
  inner.require_grad(own);
  put(inner.grad_slot(theirs), 3);
  put(inner.grad_slot(own), 4);
  EXPECT_EQ(outer.take_grad(theirs).item<float>(), 3);
  EXPECT_TRUE(outer.has_grad(theirs)) << "asked for";
  EXPECT_EQ(inner.grad(own).item<float>(), 4);
  EXPECT_FALSE(outer.has_grad(own));
}

TEST(InferenceTape, RecordsNothingAndKeepsNoMemory) {
  Tape tape = Tape::inference();
  EXPECT_FALSE(tape.recording());
  EXPECT_FALSE(tape.context().training);
  const std::size_t before = live_activations();
  Tensor x = scalar(1);
  for (int i = 0; i < 3; ++i) {
    const Tensor saved = Tensor::empty({1000}), y = scalar(1);
    tape.record("layer", y, [saved](Tape&) { FAIL() << saved.numel(); });
    x = y;
  }
  EXPECT_EQ(live_activations(), before);
  EXPECT_FALSE(tape.needs_grad(x));
  EXPECT_EQ(error_message([&] { tape.backward(x); }), "Tape: an inference tape has nothing to unwind");
}

TEST(Tape, StopsRecordingWhenAsked) {
  Tape tape({.random = {.seed = 9}});
  tape.stop_recording();
  const Tensor y = times(tape, scalar(1), 2);
  EXPECT_FALSE(tape.needs_grad(y));
  EXPECT_TRUE(tape.context().training);
  EXPECT_EQ(tape.context().random.seed, 9u);
}

TEST(Tape, UnwindsFromContributedGradients) {
  Tape tape;
  float dx = 0;
  const Tensor x = leaf(tape, 5, dx);
  const Tensor y = times(tape, x, 3);
  tape.contribute(y, scalar(2), add);
  tape.backward();
  EXPECT_EQ(dx, 6);
}

TEST(Tape, UnwindsOnce) {
  Tape tape;
  float dx = 0;
  const Tensor loss = loss_of(tape, leaf(tape, 5, dx));
  tape.backward(loss);
  EXPECT_EQ(error_message([&] { tape.backward(loss); }),
            "Tape: backward() needs the output of a recorded loss, but this tensor is not on the tape");
}

TEST(Tape, RefusesALossThatIsNotOnIt) {
  Tape tape;
  const Tensor wanted = scalar(1);
  tape.require_grad(wanted);
  EXPECT_EQ(error_message([&] { tape.backward(wanted); }),
            "Tape: backward() needs the output of a recorded loss, but this tensor is not on the tape");
  EXPECT_EQ(error_message([&] { tape.backward(scalar(1)); }),
            "Tape: backward() needs the output of a recorded loss, but this tensor is not on the tape");
}

TEST(Tape, KeepsTheGradientsThatWereAskedFor) {
  Tape tape;
  const Tensor x = scalar(5);
  tape.require_grad(x);
  const Tensor y = times(tape, x, 3), z = times(tape, y, 7);
  tape.require_grad(y);
  tape.backward(loss_of(tape, z));
  EXPECT_EQ(tape.grad(x).item<float>(), 21);
  EXPECT_EQ(tape.grad(y).item<float>(), 7);
  EXPECT_FALSE(tape.has_grad(z));
}

TEST(Tape, RefusesASecondProducerOfATensor) {
  Tape tape;
  const Tensor y = times(tape, scalar(1), 2);
  EXPECT_EQ(
      error_message([&] { tape.record("identity", y, [](Tape&) {}); }),
      "Tape: identity records an output [1] that another operation has produced; one that changes nothing records "
      "nothing");
}

// A parameter whose first contribution a closure has taken a slot for and not written.
TEST(Tape, AParameterIsFreshAgainWhenTheClosureThrows) {
  ParameterStore store;
  const Parameter touched = store.add("touched", {1}, Initializer::zeros());
  const Parameter earlier = store.add("earlier", {1}, Initializer::zeros());
  store.allocate(Device::cpu(), 1);
  Tape tape;
  const Tensor y = scalar(1), loss = scalar(1);
  tape.record("broken", y, [&](Tape& t) {
    EXPECT_EQ(t.grad_slot(touched).write, Write::overwrite);
    EXPECT_EQ(t.grad_slot(earlier).write, Write::accumulate);
    fail(ErrorKind::io, "broken");
  });
  tape.record("loss", loss, [&, y_node = Node(y)](Tape& t) {
    put(t.grad_slot(earlier), 1);
    put(t.grad_slot(y_node), 1);
  });
  EXPECT_EQ(error_message([&] { tape.backward(loss); }, ErrorKind::io), "broken");
  EXPECT_TRUE(touched.fresh());
  EXPECT_FALSE(earlier.fresh());
}

TEST(Tape, HasNoGradientThatNobodyWrote) {
  Tape tape;
  const Tensor x = Tensor::zeros({2, 3});
  tape.require_grad(x);
  EXPECT_FALSE(tape.has_grad(x));
  EXPECT_EQ(error_message([&] { tape.grad(x); }), "Tape: no gradient has been written for this tensor of shape [2, 3]");
}

TEST(Tape, RefusesAContributionOfAnotherShape) {
  Tape tape;
  const Tensor x = Tensor::zeros({2, 3});
  tape.require_grad(x);
  EXPECT_EQ(error_message([&] { tape.contribute(x, Tensor::zeros({6}), add); }),
            "Tape: a gradient of shape [6] for a tensor of shape [2, 3]");
}

TEST(Tape, AnErrorInAClosureComesThroughAndLeaksNothing) {
  const std::size_t before = live_activations();
  {
    Tape tape;
    float dx = 0;
    const Tensor x = leaf(tape, 5, dx), y = scalar(1);
    tape.record("broken", y,
                [saved = Tensor::empty({1000})](Tape&) { fail(ErrorKind::io, "broken {}", saved.numel()); });
    EXPECT_EQ(error_message([&] { tape.backward(y); }, ErrorKind::io), "broken 1000");
    EXPECT_EQ(dx, 0);
  }
  EXPECT_EQ(live_activations(), before);
}

TEST(Tape, MovesWithItsRecords) {
  Tape first;
  float dx = 0;
  const Tensor loss = loss_of(first, times(first, leaf(first, 5, dx), 3));
  Tape second = std::move(first);
  second.backward(loss);
  EXPECT_EQ(dx, 3);
}

}  // namespace
}  // namespace accrue::tape_test
