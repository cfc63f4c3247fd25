// A window of training on a CUDA device, real or emulated, beside the same window on the CPU.
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/needs_cuda.h"
#include "tests/testing/training.h"
#include "tests/testing/with_epilogues.h"

namespace accrue::nn_device_test {
namespace {

using namespace accrue::testing;

using Gpt = Training<nn::Gpt>;

class OneWindow : public NeedsCuda {
 protected:
  struct Result {
    std::vector<double> gradient;
    std::vector<double> weights;
    train::WindowReport report;
  };
  // Four samples in two micro-batches, with unequal targets and dropout.
  static Result run(Device device, DType compute, const nn::GptConfig& config) {
    Gpt training(nn::Gpt(config), device, {.schedule = {.peak = 1e-2}}, optim::AdamWOptions(), compute);
    const Samples samples = gpt_samples(config, {8, 1, 7, 3}, 5, device);
    const train::WindowReport report = training.window(samples, {2, 2});
    return {.gradient = training.gradient(), .weights = to_doubles(training.parameters.master()), .report = report};
  }
};

TEST_F(OneWindow, HasTheGradientOfTheCpuInF32) {
  for (const float dropout : {0.0f, 0.2f}) {
    nn::GptConfig config = small_gpt(dropout);
    for (const bool recompute : {false, true}) {
      config.recompute = recompute;
      const Result on_cpu = run(Device::cpu(), DType::f32, config), on_cuda = run(Device::cuda(), DType::f32, config);
      EXPECT_LE(relative_error(on_cuda.gradient, on_cpu.gradient), 1e-5);
      EXPECT_LE(relative_error(on_cuda.weights, on_cpu.weights), 1e-5);
      EXPECT_NEAR(on_cuda.report.loss, on_cpu.report.loss, 1e-5 * on_cpu.report.loss);
      EXPECT_NEAR(on_cuda.report.grad_norm, on_cpu.report.grad_norm, 1e-5 * on_cpu.report.grad_norm);
    }
  }
}

// Every tensor on the longest way through the model is rounded to the half dtype once, which moves it by at most u of
// its norm. On the way there: the embedding; in each block two norms, qkv, attention (its probabilities as well),
// projection, two sums, two layers of the MLP and GELU; the last norm; the logits. The same number on the way back, and
// the weights themselves. To first order, and with layers that neither stretch nor shrink, the gradient moves by their
// number times u.
TEST_F(OneWindow, HasTheGradientOfF32WithinTheRoundingsOfAHalfDtype) {
  const nn::GptConfig config = small_gpt(0.2f);
  const Result exact = run(Device::cpu(), DType::f32, config);
  const double tensors = 1 + 11.0 * static_cast<double>(config.layers) + 2;
  for (const DType compute : {DType::bf16, DType::f16}) {
    const Result rounded = run(Device::cuda(), compute, config);
    const double bound = (2 * tensors + 1) * unit_roundoff(compute);
    const double error = relative_error(rounded.gradient, exact.gradient);
    EXPECT_LE(error, bound) << name_of(compute);
    EXPECT_GT(error, unit_roundoff(DType::f32)) << name_of(compute) << ": nothing was rounded";
    EXPECT_NEAR(rounded.report.loss, exact.report.loss, tensors * unit_roundoff(compute) * exact.report.loss);
  }
}

// Where products compute GELU and the gradients of biases in the same pass. In f32 on the emulated device alone: how
// accurate another library's GELU is, nobody knows; the roundings of a half dtype are more than that.
TEST_F(OneWindow, HasTheGradientOfTheCpuWithEveryEpilogue) {
  const EpilogueSetting all(kernels::MatmulEpilogues::all);
  const nn::GptConfig config = small_gpt(0.2f);
  const Result on_cpu = run(Device::cpu(), DType::f32, config);
  if (cuda::emulated()) {
    EXPECT_LE(relative_error(run(Device::cuda(), DType::f32, config).gradient, on_cpu.gradient), 1e-5);
  }
  const std::int64_t before = kernels::fused_product_count();
  const double roundings = 2 * (1 + 11.0 * static_cast<double>(config.layers) + 2) + 1;  // as above
  for (const DType compute : {DType::bf16, DType::f16})
    EXPECT_LE(relative_error(run(Device::cuda(), compute, config).gradient, on_cpu.gradient),
              roundings * unit_roundoff(compute))
        << name_of(compute);
  if (cuda::emulated()) {
    EXPECT_GT(kernels::fused_product_count(), before);
  }
}

TEST_F(OneWindow, HasTheSameBitsEveryTime) {
  const nn::GptConfig config = small_gpt(0.2f);
  for (const kernels::MatmulEpilogues epilogues : {kernels::MatmulEpilogues::bias, kernels::MatmulEpilogues::all})
    for (const DType compute : {DType::f32, DType::bf16}) {
      const EpilogueSetting setting(epilogues);
      const Result first = run(Device::cuda(), compute, config), again = run(Device::cuda(), compute, config);
      EXPECT_EQ(again.gradient, first.gradient) << name_of(compute);
      EXPECT_EQ(again.weights, first.weights) << name_of(compute);
    }
}

}  // namespace
}  // namespace accrue::nn_device_test
