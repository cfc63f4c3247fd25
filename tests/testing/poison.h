// Scripted overflows: a model whose backward pass adds a chosen number to one element of a chosen parameter's gradient.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "core/parameter.h"
#include "kernels/grad_accumulate.h"
#include "nn/module.h"
#include "tests/testing/sweep.h"

namespace accrue::testing {

struct Poison {
  Parameter parameter;
  float value = 0;
  std::int64_t element = 0;
};

template <class Model>
class Poisoned final : public nn::Module {
 public:
  explicit Poisoned(Model model) : model_(std::move(model)) {}

  void register_into(nn::Registry registry) override { registry.module("model", model_); }

  // What `poison` says at each call is what that micro-batch gets.
  Tensor forward(Tape& tape, const Tensor& x) const override {
    const Tensor y = model_.forward(tape, x);
    const std::vector<Poison> now = poison && tape.recording() ? poison(tape) : std::vector<Poison>();
    if (now.empty()) return y;
    const Tensor passed = y.clone();
    tape.record("poison", passed, [now, from = Node(y), to = Node(passed)](Tape& t) {
      for (const auto& [parameter, value, element] : now) {
        std::vector<float> values(static_cast<std::size_t>(parameter.shape().numel()), 0.0f);
        values[static_cast<std::size_t>(element)] = value;
        kernels::grad_accumulate(
            {.acc = t.grad_slot(parameter), .incoming = tensor_of(values, parameter.shape(), DType::f32, to.device)});
      }
      t.contribute(from, t.take_grad(to), nullptr);  // the only one: nothing to add
    });
    return passed;
  }

  std::function<std::vector<Poison>(const Tape&)> poison;

 private:
  Model model_;
};

}  // namespace accrue::testing
