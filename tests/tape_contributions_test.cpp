// Contributions to gradients that do not accumulate in f32: what a closure puts into its slots reaches the gradient
// once the closure has returned.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/tape.h"
#include "kernels/grad_accumulate.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::tape_contributions_test {
namespace {

using namespace accrue::testing;
using Doubles = std::vector<double>;

constexpr float inf = std::numeric_limits<float>::infinity();

void fold(const GradSlot& acc, const Tensor& contribution) {
  kernels::grad_accumulate({.acc = acc, .incoming = contribution});
}

// What a backward kernel does with a slot.
void put(const GradSlot& slot, float value) {
  const Tensor incoming = tensor_of({value}, {1}, DType::f32, slot.tensor.device());
  kernels::grad_accumulate({.acc = slot, .incoming = incoming});
}

// Two parameters of one element whose gradients accumulate in bf16. Above 256 that holds even numbers alone.
struct Pair {
  explicit Pair(Device on) : device(on) {
    store.fold_gradients_with(fold);
    store.allocate(device, 1, DType::f32, DType::bf16);
    // What an earlier window has left must not survive.
    for (const Parameter& p : {a, b}) p.grad().copy_from_host(std::span<const bf16>(std::vector{bf16(inf)}));
  }

  Device device;
  ParameterStore store;
  Parameter a = store.add("a", {1}, Initializer::zeros());
  Parameter b = store.add("b", {1}, Initializer::zeros());
};

std::size_t live_workspace(Device device) { return Allocator::of(device).stats()[Category::workspace].live; }

Doubles value_of(const Parameter& parameter) { return to_doubles(parameter.grad()); }

Tensor node(Device device) { return Tensor::zeros({1}, DType::f32, device); }

// Runs one closure, as the backward of the loss itself.
void run(Device device, Tape& tape, const Tape::Backward& closure) {
  const Tensor loss = node(device);
  tape.record("loss", loss, closure);
  tape.backward(loss);
}
void run(Device device, const Tape::Backward& closure) {
  Tape tape;
  run(device, tape, closure);
}

TEST(TapeContributions, ReachTheGradientOnceTheClosureHasReturned) {
  for (const Device device : devices()) {
    const Pair p(device);
    run(device, [&](Tape& t) {
      const GradSlot slot = t.grad_slot(p.a);
      EXPECT_EQ(slot.tensor.dtype(), DType::f32);
      EXPECT_EQ(slot.tensor.shape(), p.a.shape());
      EXPECT_EQ(slot.write, Write::overwrite);
      put(slot, 257.5f);
      EXPECT_TRUE(p.a.fresh());
      EXPECT_EQ(value_of(p.a), Doubles{inf});
    });
    EXPECT_FALSE(p.a.fresh());
    EXPECT_EQ(value_of(p.a), Doubles{258}) << "stored, and rounded to nearest";
    EXPECT_TRUE(p.b.fresh());
    // Every closure begins with a slot that overwrites; what it leaves there is added.
    run(device, [&](Tape& t) {
      EXPECT_EQ(t.grad_slot(p.a).write, Write::overwrite);
      put({t.grad_slot(p.a).tensor, Write::overwrite}, 1);
    });
    EXPECT_EQ(value_of(p.a), Doubles{260}) << "259 is a tie, and 260 the even one";
    p.store.parameters()[0].discard_gradient();
    run(device, [&](Tape& t) { put(t.grad_slot(p.a), 3); });
    EXPECT_EQ(value_of(p.a), Doubles{3}) << "the first contribution of a window overwrites";
  }
}

TEST(TapeContributions, OfOneClosureAddUpInF32AndAreRoundedOnce) {
  for (const Device device : devices()) {
    const Pair p(device);
    run(device, [&](Tape& t) {
      put(t.grad_slot(p.a), 256);
      put(t.grad_slot(p.b), 7);
      for (int i = 0; i < 3; ++i) {
        const GradSlot again = t.grad_slot(p.a);
        EXPECT_EQ(again.write, Write::accumulate);
        put(again, 0.5f);
      }
    });
    // One by one, each half would be lost: 256 + 0.5 is nearest to 256.
    EXPECT_EQ(value_of(p.a), Doubles{258});
    EXPECT_EQ(value_of(p.b), Doubles{7});
  }
}

TEST(TapeContributions, OfTwoClosuresAreRoundedOneByOne) {
  for (const Device device : devices()) {
    const Pair p(device);
    Tape tape;
    const Tensor y = node(device);
    tape.record("earlier", y, [&](Tape& t) { put(t.grad_slot(p.a), 1); });
    run(device, tape, [&, y_node = Node(y)](Tape& t) {
      put(t.grad_slot(p.a), 256);
      put(t.grad_slot(y_node), 1);
    });
    EXPECT_EQ(value_of(p.a), Doubles{256}) << "257 is a tie, and 256 the even one";
  }
}

TEST(TapeContributions, OfANestedTapeArriveOnce) {
  for (const Device device : devices()) {
    const Pair p(device);
    run(device, [&](Tape& outer) {
      put(outer.grad_slot(p.a), 1);
      Tape inner = Tape::nested(outer);
      run(device, inner, [&](Tape& t) {
        put(t.grad_slot(p.a), 10);
        put(t.grad_slot(p.b), 5);
      });
      EXPECT_EQ(value_of(p.a), Doubles{10}) << "the inner closure has returned, the outer one has not";
      EXPECT_EQ(outer.grad_slot(p.a).write, Write::accumulate) << "the outer closure's slot is still its own";
      put(outer.grad_slot(p.a), 2);
    });
    EXPECT_EQ(value_of(p.a), Doubles{13});
    EXPECT_EQ(value_of(p.b), Doubles{5});
  }
}

TEST(TapeContributions, OfAClosureThatThrowsAreDropped) {
  for (const Device device : devices()) {
    const Pair p(device);
    Tape tape;
    const Tensor y = node(device);
    tape.record("broken", y, [&](Tape& t) {
      put(t.grad_slot(p.a), 100);
      put(t.grad_slot(p.b), 100);
      fail(ErrorKind::io, "broken");
    });
    const Tape::Backward loss = [&, y_node = Node(y)](Tape& t) {
      put(t.grad_slot(p.b), 1);
      put(t.grad_slot(y_node), 1);
    };
    const std::size_t before = live_workspace(device);
    EXPECT_EQ(error_message([&] { run(device, tape, loss); }, ErrorKind::io), "broken");
    EXPECT_EQ(live_workspace(device), before) << "the tape still holds what it has dropped";
    EXPECT_TRUE(p.a.fresh());
    EXPECT_EQ(value_of(p.a), Doubles{inf});
    EXPECT_FALSE(p.b.fresh());
    EXPECT_EQ(value_of(p.b), Doubles{1});
    // Through a nested tape neither the inner closure's nor the outer one's.
    EXPECT_EQ(error_message(
                  [&] {
                    run(device, [&](Tape& outer) {
                      put(outer.grad_slot(p.b), 100);
                      Tape inner = Tape::nested(outer);
                      run(device, inner, [&](Tape& t) {
                        put(t.grad_slot(p.a), 100);
                        fail(ErrorKind::io, "broken inside");
                      });
                    });
                  },
                  ErrorKind::io),
              "broken inside");
    EXPECT_TRUE(p.a.fresh());
    EXPECT_EQ(value_of(p.b), Doubles{1});
    // The next micro-batch finds nothing of all that.
    run(device, [&](Tape& t) { put(t.grad_slot(p.a), 2); });
    EXPECT_EQ(value_of(p.a), Doubles{2});
  }
}

TEST(TapeContributions, HoldMemoryWhileTheirClosureRunsAlone) {
  for (const Device device : devices()) {
    const Pair p(device);
    const auto live = [&] { return live_workspace(device); };
    const std::size_t before = live();
    run(device, [&](Tape& t) {
      put(t.grad_slot(p.a), 1);
      put(t.grad_slot(p.a), 1);
      EXPECT_EQ(live() - before, Allocator::alignment);
      put(t.grad_slot(p.b), 1);
      EXPECT_EQ(live() - before, 2 * Allocator::alignment);
    });
    EXPECT_EQ(live(), before);
  }
}

TEST(TapeContributions, HaveNoSlotOutsideOfAClosure) {
  const Pair p(Device::cpu());
  Tape tape;
  constexpr const char* message =
      "Tape: parameter a accumulates in bf16, so that its slot is for backward closures alone";
  EXPECT_EQ(error_message([&] { tape.grad_slot(p.a); }), message);
  run(Device::cpu(), tape, [&](Tape& t) { put(t.grad_slot(p.a), 1); });
  EXPECT_EQ(error_message([&] { tape.grad_slot(p.a); }), message);
  EXPECT_EQ(error_message([&] { p.a.grad_slot(); }),
            "parameter a accumulates in bf16, but kernels write f32: take the slot from a tape");
}

}  // namespace
}  // namespace accrue::tape_contributions_test
