// One step of plain gradient descent on f(w) = sum(w * x), with Accrue's parameters and tape.
#include <cstdio>
#include <vector>

#include "core/parameter.h"
#include "core/tape.h"
#include "core/tensor.h"

int main() {
  using namespace accrue;

  ParameterStore store;
  const Parameter w = store.add("w", {2, 3}, Initializer::ones());
  store.allocate(Device::cpu(), /*seed=*/1);
  const std::vector<float> inputs = {1, 2, 3, 4, 5, 6};
  const Tensor x = Tensor::from<float>(inputs, {2, 3});

  Tape tape;
  const Tensor loss = Tensor::zeros({1});
  for (int i = 0; i < 6; ++i) *loss.data<float>() += w.value().data<float>()[i] * inputs[static_cast<std::size_t>(i)];
  tape.record("dot", loss, [=](Tape&) {
    const GradSlot slot = w.grad_slot();
    slot.tensor.copy_from(x);
  });
  tape.backward(loss);

  for (int i = 0; i < 6; ++i) w.master().data<float>()[i] -= 0.5f * w.grad().data<float>()[i];
  const bool right =
      loss.item<float>() == 21 && w.value().to_vector<float>() == std::vector<float>{.5f, 0, -.5f, -1, -1.5f, -2};
  std::printf("%s: loss %g\n", right ? "ok" : "wrong", static_cast<double>(loss.item<float>()));
  return right ? 0 : 1;
}
