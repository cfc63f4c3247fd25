#include <gtest/gtest.h>

#include "core/cuda_devices.h"
#include "nn/functional.h"
#include "nn/gradients.h"
#include "tests/testing/compare.h"
#include "tests/testing/function_case.h"
#include "tests/testing/reference_gelu.h"
#include "tests/testing/sweep.h"
#include "tests/testing/with_epilogues.h"

namespace accrue::nn::nn_feed_forward_test {
namespace {

using namespace accrue::testing;

TEST(FeedForward, BackwardMatchesFiniteDifferences) {
  const auto gelu_of = [](double x) { return testing::Gelu(x).value; };
  const FunctionCase biased{.x_shape = {2, 3, 5},
                            .parameter_shapes = {{5, 8}, {8}, {8, 6}, {6}},
                            .function =
                                [](Tape& t, const Tensor& x, const auto& p) {
                                  return feed_forward(t, x,
                                                      {.up = p[0], .up_bias = p[1], .down = p[2], .down_bias = p[3]});
                                },
                            .reference =
                                [gelu_of](const auto& x, const auto& p) {
                                  std::vector<double> hidden = product(x, p[0], 5, 8, false);
                                  for (std::size_t i = 0; i < hidden.size(); ++i)
                                    hidden[i] = gelu_of(hidden[i] + p[1][i % 8]);
                                  std::vector<double> y = product(hidden, p[2], 8, 6, false);
                                  for (std::size_t i = 0; i < y.size(); ++i) y[i] += p[3][i % 6];
                                  return y;
                                },
                            .terms = 9};
  const FunctionCase unbiased{.x_shape = {6, 5},
                              .parameter_shapes = {{5, 7}, {7, 6}},
                              .function = [](Tape& t, const Tensor& x,
                                             const auto& p) { return feed_forward(t, x, {.up = p[0], .down = p[1]}); },
                              .reference =
                                  [gelu_of](const auto& x, const auto& p) {
                                    std::vector<double> hidden = product(x, p[0], 5, 7, false);
                                    for (double& value : hidden) value = gelu_of(value);
                                    return product(hidden, p[1], 7, 6, false);
                                  },
                              .terms = 8};
  expect_gradients(biased);
  expect_gradients(unbiased);
  if (!cuda::emulated()) return;  // how accurate another library's GELU is, nobody knows
  const EpilogueSetting all(kernels::MatmulEpilogues::all);
  expect_gradients(biased);
  expect_gradients(unbiased);
}

// The three functions that it is made of, bit by bit: forward, and the gradients of everything.
TEST(FeedForward, HasTheBitsOfItsParts) {
  for (const Device device : devices()) {
    const auto run = [device](const auto& function) {
      RandomParameters p({{5, 8}, {8}, {8, 6}, {6}}, device);
      const Tensor x = random_tensor({4, 5}, 3, DType::f32, device);
      Tape tape;
      std::vector<std::vector<double>> results;
      tape.record("input", x, [&results, node = Node(x)](Tape& t) { results.push_back(to_doubles(t.grad(node))); });
      const Tensor y = function(tape, x, p.all);
      results.push_back(to_doubles(y));
      tape.contribute(y, random_tensor(y.shape(), 4, DType::f32, device), add_gradient);
      tape.backward();
      for (const Parameter& parameter : p.all) results.push_back(to_doubles(parameter.grad()));
      return results;
    };
    EXPECT_EQ(run([](Tape& t, const Tensor& x, const auto& p) {
                return feed_forward(t, x, {.up = p[0], .up_bias = p[1], .down = p[2], .down_bias = p[3]});
              }),
              run([](Tape& t, const Tensor& x, const auto& p) {
                return linear(t, gelu(t, linear(t, x, p[0], p[1])), p[2], p[3]);
              }))
        << device.to_string();
  }
}

}  // namespace
}  // namespace accrue::nn::nn_feed_forward_test
