// How operations hang together on a tape: no gradient is lost on its way, nor computed from overwritten values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/matmul_precision.h"
#include "nn/cross_entropy.h"
#include "nn/gradients.h"
#include "nn/layers.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::nn::nn_graph_test {
namespace {

using namespace accrue::testing;
using ::testing::HasSubstr;

Tensor targets_of(std::int64_t rows, std::int64_t classes, Device device = Device::cpu()) {
  return Tensor::from<std::int32_t>(random_integers(rows, static_cast<std::int32_t>(classes), 9), {rows}, device);
}

using Function = std::function<Tensor(Tape&, const Tensor&)>;

// The gradient of the cross-entropy of function(x) with respect to x.
std::vector<double> input_gradient(const Tensor& x, const Tensor& targets, const Function& function) {
  Tape tape;
  tape.require_grad(x);
  const Loss loss = cross_entropy(tape, function(tape, x), targets);
  tape.backward(loss.terms);
  return to_doubles(tape.grad(x));
}

double loss_of(const Tensor& x, const Tensor& targets, const Function& function) {
  Tape tape = Tape::inference();
  return cross_entropy(tape, function(tape, x), targets).read().sum;
}

// ---- reshape ----

TEST(Reshape, HandsTheGradientBackInTheShapeOfItsInput) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({2, 5, 3}, 1, DType::f32, device), dy = random_tensor({6, 5}, 2, DType::f32, device);
    Tape tape;
    tape.require_grad(x);
    const Tensor y = reshape(tape, x, {6, 5});
    EXPECT_EQ(y.shape(), (Shape{6, 5}));
    EXPECT_EQ(to_doubles(y), to_doubles(x));
    tape.contribute(y, dy, add_gradient);
    tape.backward();
    EXPECT_EQ(tape.grad(x).shape(), x.shape());
    EXPECT_EQ(to_doubles(tape.grad(x)), to_doubles(dy));
  }
}

TEST(Reshape, AddsToTheGradientOfAnotherReader) {
  const Tensor x = random_tensor({4, 3}, 1), dy = random_tensor({12}, 2), other = random_tensor({4, 3}, 3);
  Tape tape;
  tape.require_grad(x);
  const Tensor y = reshape(tape, x, {12});
  tape.contribute(x, other, add_gradient);
  tape.contribute(y, dy, add_gradient);
  tape.backward();
  const std::vector<double> first = to_doubles(other), second = to_doubles(dy), sum = to_doubles(tape.grad(x));
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(static_cast<float>(first[i] + second[i]), sum[i]);
  EXPECT_EQ(to_doubles(other), first) << "a contribution must not change";
}

TEST(Reshape, OfLogitsTrainsAsTheLossOfTheLogitsThemselves) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({2, 5, 4}, 1, DType::f32, device);
    std::vector<std::vector<double>> gradients;
    for (const bool flat : {false, true}) {
      Linear layer(4, 3);
      ParameterStore parameters;
      initialize(layer, parameters, 1, device);
      Tape tape;
      Tensor logits = layer.forward(tape, x);
      if (flat) logits = reshape(tape, logits, {10, 3});
      tape.backward(cross_entropy(tape, logits, targets_of(10, 3, device).view(flat ? Shape{10} : Shape{2, 5})).terms);
      gradients.push_back(to_doubles(parameters.gradients()));
    }
    EXPECT_EQ(gradients[1], gradients[0]);
  }
}

TEST(Reshape, RefusesAnotherNumberOfElements) {
  Tape tape;
  EXPECT_EQ(error_message([&] {
              reshape(tape, Tensor::zeros({2, 3}), {5});
            }),
            "reshape: shape [5] must have the 6 elements of x [2, 3]");
}

TEST(Tape, AViewOfARecordedTensorIsRefusedInsteadOfLosingItsGradient) {
  Linear layer(4, 3);
  ParameterStore parameters;
  initialize(layer, parameters);
  Tape tape;
  const Tensor logits = layer.forward(tape, random_tensor({2, 5, 4}, 1));
  const Loss loss = cross_entropy(tape, logits.view({10, 3}), targets_of(10, 3));
  EXPECT_EQ(error_message([&] { tape.backward(loss.terms); }),
            "Tape: the gradient of a view [10, 3] would not reach the tensor that it is a view of; use nn::reshape");
}

// ---- recompute ----

TEST(Recompute, OfAFunctionThatReturnsItsInputKeepsTheGradient) {
  const Tensor x = random_tensor({6, 4}, 1), targets = targets_of(6, 4);
  const std::vector<double> expected =
      input_gradient(x, targets, [](Tape& tape, const Tensor& in) { return gelu(tape, in); });
  const Dropout identity(0);
  const Sequential empty;
  for (const Module* module : {static_cast<const Module*>(&identity), static_cast<const Module*>(&empty)}) {
    const auto actual = input_gradient(x, targets, [&](Tape& tape, const Tensor& in) {
      return recompute(tape, gelu(tape, in),
                       [&](Tape& inner, const Tensor& inside) { return module->forward(inner, inside); });
    });
    EXPECT_EQ(actual, expected);
  }
}

TEST(Recompute, OfAFunctionThatReturnsACapturedTensorKeepsTheGradient) {
  const Tensor x = random_tensor({6, 4}, 1), targets = targets_of(6, 4);
  const auto returned = input_gradient(x, targets, [](Tape& tape, const Tensor& in) {
    const Tensor memory = gelu(tape, in);
    return recompute(tape, in, [memory](Tape&, const Tensor&) { return memory; });
  });
  EXPECT_EQ(returned, input_gradient(x, targets, [](Tape& tape, const Tensor& in) { return gelu(tape, in); }));
}

TEST(Recompute, RefusesAResultThatNothingRecorded) {
  const Tensor x = random_tensor({6, 4}, 1);
  Tape tape;
  const Tensor y = recompute(tape, gelu(tape, x), [](Tape&, const Tensor& in) { return in.view({4, 6}); });
  const Loss loss = cross_entropy(tape, y, targets_of(4, 6));
  EXPECT_THAT(error_message([&] { tape.backward(loss.terms); }),
              HasSubstr("recompute: what the function returns must come out of a recorded operation"));
}

// ---- the loss works in place ----

// Attention reads its own output in its backward: the loss must not put its gradient there.
TEST(CrossEntropy, LeavesLogitsAloneThatTheirProducerSaved) {
  for (const Device device : devices()) {
    const Tensor x = random_tensor({1, 6, 12}, 1, DType::f32, device), targets = targets_of(6, 4, device).view({1, 6});
    const Function attention = [](Tape& tape, const Tensor& in) { return causal_attention(tape, in, 1); };
    const std::vector<double> gradient = input_gradient(x, targets, attention);
    // Central differences of an f32 forward: about 1e-7 / step of rounding and step^2 of truncation.
    const float step = 1e-2f;
    const std::vector<double> values = to_doubles(x);
    for (std::size_t i = 0; i < values.size(); ++i) {
      double losses[2];
      for (int side = 0; side < 2; ++side) {
        std::vector<double> moved = values;
        moved[i] += side == 0 ? -step : step;
        losses[side] = loss_of(tensor_of(std::vector<float>(moved.begin(), moved.end()), x.shape(), DType::f32, device),
                               targets, attention);
      }
      EXPECT_NEAR(gradient[i], (losses[1] - losses[0]) / (2 * step), 1e-3) << i;
    }
    // The sum with zero keeps the bits and hands the loss a buffer that nobody saved.
    const auto by_sum = input_gradient(x, targets, [&](Tape& tape, const Tensor& in) {
      return add(tape, attention(tape, in), Tensor::zeros({1, 6, 4}, DType::f32, device));
    });
    EXPECT_EQ(gradient, by_sum);
  }
}

TEST(CrossEntropy, LeavesLogitsAloneThatAnotherOperationSaved) {
  const Tensor x = random_tensor({6, 4}, 1);
  Tape tape;
  const Tensor logits = add(tape, x, x);
  const std::vector<double> before = to_doubles(logits);
  gelu(tape, logits);
  cross_entropy(tape, logits, targets_of(6, 4));
  EXPECT_EQ(to_doubles(logits), before);
}

TEST(CrossEntropy, TakesNoMemoryForTheGradientOfALinearLayersLogits) {
  for (const Device device : devices()) {
    Linear layer(4, 512);
    ParameterStore parameters;
    initialize(layer, parameters, 1, device);
    Tape tape;
    const Tensor logits = layer.forward(tape, random_tensor({64, 4}, 1, DType::f32, device));
    const Tensor targets = targets_of(64, 512, device);
    const std::vector<double> before = to_doubles(logits);
    Allocator& allocator = Allocator::of(device);
    allocator.reset_peak();
    const std::size_t live = allocator.stats()[Category::activations].live;
    const Loss loss = cross_entropy(tape, logits, targets);
    EXPECT_LT(allocator.stats()[Category::activations].peak - live, logits.bytes());
    EXPECT_NE(to_doubles(logits), before) << "not in place";
  }
}

// ---- layers and stores ----

TEST(Layers, AnUnregisteredLayerSaysSo) {
  const Tensor x = random_tensor({2, 4}, 1);
  const Tensor ids = Tensor::zeros({2, 4}, DType::i32);
  Tape tape;
  const std::string message =
      "a parameter is used before its layer is registered with a ParameterStore (nn::initialize does both)";
  EXPECT_EQ(error_message([&] { Linear(4, 3).forward(tape, x); }), message);
  EXPECT_EQ(error_message([&] { LayerNorm(4).forward(tape, x); }), message);
  EXPECT_EQ(error_message([&] { Embedding(4, 3).forward(tape, ids); }), message);
}

TEST(Layers, DropoutsOfOneStoreDifferHoweverManyRegistriesThereAre) {
  ParameterStore store;
  Dropout first(0.5f), second(0.5f);
  first.register_into(Registry(store));
  second.register_into(Registry(store));
  Tape tape;
  const Tensor x = random_tensor({1, 64}, 1);
  EXPECT_NE(to_doubles(first.forward(tape, x)), to_doubles(second.forward(tape, x)));
}

// ---- errors on the way ----

TEST(Contract10, AFailedFirstTouchIsNotAddedTo) {
  const kernels::ProductsIn bf16(kernels::MatmulPrecision::bf16);  // which need scratch on every CPU
  Linear layer(4, 3);
  ParameterStore parameters;
  initialize(layer, parameters, 1);
  const Tensor x = random_tensor({10, 4}, 1), targets = targets_of(10, 3);
  const auto backward = [&](std::size_t allowed = 0) {
    Tape tape;
    const Loss loss = cross_entropy(tape, layer.forward(tape, x), targets);
    Allocator& allocator = Allocator::of(Device::cpu());
    if (allowed == 0) return tape.backward(loss.terms);
    allocator.set_limit(allocator.stats().total.live + allowed);
    EXPECT_THAT(error_message([&] { tape.backward(loss.terms); }, ErrorKind::memory), HasSubstr("out of memory"));
    allocator.set_limit(0);
  };
  backward();
  const std::vector<double> expected = to_doubles(parameters.gradients());
  const Parameter weight = parameters.find("weight");
  weight.grad().copy_from_host(std::span<const float>(std::vector<float>(12, std::nanf(""))));
  parameters.clear_gradients();
  backward(64);  // too little for the scratch of the weight's product
  EXPECT_TRUE(weight.fresh());
  backward();
  EXPECT_EQ(to_doubles(parameters.gradients()), expected);
}

}  // namespace
}  // namespace accrue::nn::nn_graph_test
