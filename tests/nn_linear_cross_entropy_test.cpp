// The loss whose logits exist a chunk at a time, against the one that has them all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/cuda_devices.h"
#include "nn/cross_entropy.h"
#include "nn/gradients.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"

namespace accrue::nn::nn_linear_cross_entropy_test {
namespace {

using namespace accrue::testing;
using ::testing::HasSubstr;
using Doubles = std::vector<double>;

constexpr double u = unit_roundoff(DType::f32);
constexpr std::int64_t rows = 11, in = 5, classes = 33;

// A head of a model: hidden states, weight in either layout, bias and targets, some of them ignored.
struct Head {
  explicit Head(Device on, WeightLayout weight_layout = WeightLayout::out_in, bool with_bias = true)
      : device(on),
        layout(weight_layout),
        hidden(random_tensor({rows, in}, 1, DType::f32, on)),
        targets(
            Tensor::from<std::int32_t>(std::vector<std::int32_t>{3, 0, -1, 32, 7, 7, -1, 1, 2, 30, 4}, {rows}, on)) {
    weight = store.add("weight", layout == WeightLayout::out_in ? Shape{classes, in} : Shape{in, classes},
                       Initializer::normal(0.5f));
    if (with_bias) bias = store.add("bias", {classes}, Initializer::normal(0.5f));
    store.allocate(on, 17);
  }
  LinearCrossEntropy op(std::int64_t rows_per_chunk) const {
    return {.hidden = hidden,
            .weight = weight,
            .bias = bias,
            .layout = layout,
            .targets = targets,
            .rows_per_chunk = rows_per_chunk};
  }

  Device device;
  WeightLayout layout;
  Tensor hidden, targets;
  ParameterStore store;
  Parameter weight, bias;
};

struct Gradients {
  kernels::LossTerms terms;
  Doubles dhidden, dweight, dbias;
};

Gradients gradients_of(const Head& head, std::int64_t rows_per_chunk, const MicroBatchContext& context = {}) {
  Tape tape(context);
  tape.require_grad(head.hidden);
  const Loss loss = linear_cross_entropy(tape, head.op(rows_per_chunk));
  tape.backward(loss.terms);
  return {.terms = loss.read(),
          .dhidden = to_doubles(tape.grad(head.hidden)),
          .dweight = to_doubles(head.weight.grad()),
          .dbias = head.bias.defined() ? to_doubles(head.bias.grad()) : Doubles()};
}

// The gradients of the logits are below 1 and differ by a few roundings between the two; hidden states and weights are
// below 4. An element of a gradient sums at most max(rows, classes) products, in either order.
constexpr Bound sums_of_products{.absolute = 2 * (33 + 16) * 4 * u};

void expect_like(const Gradients& actual, const Gradients& expected, double scale = 1) {
  EXPECT_EQ(actual.terms.count, expected.terms.count);
  EXPECT_NEAR(actual.terms.sum, expected.terms.sum, 64 * u * expected.terms.sum);
  const Bound bound{.absolute = scale * sums_of_products.absolute};
  EXPECT_TRUE(within(actual.dhidden, expected.dhidden, bound));
  EXPECT_TRUE(within(actual.dweight, expected.dweight, bound));
  EXPECT_TRUE(within(actual.dbias, expected.dbias, bound));
}

TEST(LinearCrossEntropy, AnyChunkGivesTheGradientsOfTheWhole) {
  for (const Device device : devices())
    for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in})
      for (const bool with_bias : {true, false}) {
        const Gradients whole = gradients_of(Head(device, layout, with_bias), rows);
        for (const std::int64_t chunk : {1, 3, 4, 10}) {  // the last one ragged, or of one row
          SCOPED_TRACE(fmt::format("{} rows a chunk on {}", chunk, device.to_string()));
          expect_like(gradients_of(Head(device, layout, with_bias), chunk), whole);
        }
      }
}

TEST(LinearCrossEntropy, TheMeanIsOverTheMicroBatchAndTheScaleReachesEveryChunk) {
  for (const Device device : devices()) {
    const MicroBatchContext context{.mean_loss = true, .loss_scale = tensor_of({256}, {1}, DType::f32, device)};
    expect_like(gradients_of(Head(device), 4, context), gradients_of(Head(device), rows, context), 256);
    // Of the nine targets that are not ignored.
    const Gradients mean = gradients_of(Head(device), 4, {.mean_loss = true}), sum = gradients_of(Head(device), 4);
    for (std::size_t i = 0; i < sum.dhidden.size(); ++i)
      EXPECT_NEAR(mean.dhidden[i] * 9, sum.dhidden[i], sums_of_products.absolute);
  }
}

TEST(LinearCrossEntropy, TheGradientOfTheWeightAccumulates) {
  for (const Device device : devices()) {
    const Head head(device);
    const Gradients once = gradients_of(head, 4);
    Tape tape;
    tape.backward(linear_cross_entropy(tape, head.op(4)).terms);
    const Doubles twice = to_doubles(head.weight.grad());
    for (std::size_t i = 0; i < twice.size(); ++i)
      EXPECT_NEAR(twice[i], 2 * once.dweight[i], 2 * sums_of_products.absolute);
    EXPECT_TRUE(std::isfinite(twice[0]));
  }
}

TEST(LinearCrossEntropy, ATapeThatIsNotUnwoundLeavesNoGradient) {
  for (const Device device : devices()) {
    const Head head(device);
    {
      Tape tape;
      linear_cross_entropy(tape, head.op(4));
    }
    EXPECT_TRUE(head.weight.fresh());
    EXPECT_TRUE(head.bias.fresh());
  }
}

TEST(LinearCrossEntropy, AnInferenceTapeGivesTheSameLoss) {
  for (const Device device : devices()) {
    const Head head(device);
    Tape inference = Tape::inference(), recording;
    const kernels::LossTerms expected = linear_cross_entropy(recording, head.op(4)).read();
    const kernels::LossTerms actual = linear_cross_entropy(inference, head.op(4)).read();
    EXPECT_EQ(actual.sum, expected.sum);
    EXPECT_EQ(actual.count, expected.count);
  }
}

// What chunks are for: peak memory that does not grow with the number of rows by a row of logits each.
TEST(LinearCrossEntropy, NeedsMemoryForOneChunkOfLogits) {
  for (const Device device : devices()) {
    constexpr std::int64_t width = 4, chunk = 8;
    // On a GPU a product may take up to 32 MiB for itself, whatever its size: a chunk must be far more.
    const bool is_gpu = device.kind == DeviceKind::cuda && !cuda::emulated();
    const std::int64_t vocabulary = is_gpu ? 1 << 22 : 2048;
    ParameterStore store;
    const Parameter weight = store.add("weight", {vocabulary, width}, Initializer::normal(0.5f));
    store.allocate(device, 1);
    const auto peak = [&](std::int64_t n, std::int64_t rows_per_chunk) {
      const Tensor hidden = random_tensor({n, width}, 1, DType::f32, device);
      const Tensor targets = Tensor::zeros({n}, DType::i32, device);
      Allocator& allocator = Allocator::of(device);
      allocator.reset_peak();
      const std::size_t before = allocator.stats().total.live;
      Tape tape;
      tape.require_grad(hidden);
      const Loss loss = linear_cross_entropy(tape, {.hidden = hidden,
                                                    .weight = weight,
                                                    .layout = WeightLayout::out_in,
                                                    .targets = targets,
                                                    .rows_per_chunk = rows_per_chunk});
      tape.backward(loss.terms);
      return allocator.stats().total.peak - before;
    };
    const std::size_t chunk_bytes = static_cast<std::size_t>(chunk * vocabulary) * sizeof(float);
    // 64 rows of logits are eight chunks; what the products need for themselves comes to both.
    EXPECT_LT(peak(64, chunk) + 4 * chunk_bytes, peak(64, 64));
    // From 32 to 64 rows: their hidden states' gradient and losses, no logits.
    EXPECT_LT(peak(64, chunk), peak(32, chunk) + chunk_bytes / 2);
  }
}

TEST(LinearCrossEntropy, NamesWhatDoesNotFit) {
  const Head head(Device::cpu());
  Tape tape;
  LinearCrossEntropy op = head.op(4);
  op.rows_per_chunk = -1;
  EXPECT_EQ(error_message([&] { linear_cross_entropy(tape, op); }),
            "linear_cross_entropy: rows_per_chunk must not be negative, but is -1");
  op = head.op(4);
  op.targets = Tensor::zeros({10}, DType::i32);
  EXPECT_EQ(error_message([&] { linear_cross_entropy(tape, op); }),
            "linear_cross_entropy: targets must have 11 elements, one for each row of hidden [11, 5], but has [10]");
  op = head.op(4);
  op.hidden = Tensor::zeros({11, 6});
  EXPECT_THAT(error_message([&] { linear_cross_entropy(tape, op); }), HasSubstr("weight [33, 5]"));
  op = head.op(4);
  std::vector<std::int32_t> targets(11, 0);
  targets[9] = 33;
  op.targets = Tensor::from<std::int32_t>(targets, {11});
  EXPECT_THAT(error_message([&] { linear_cross_entropy(tape, op); }, ErrorKind::bad_data),
              HasSubstr("the target of row 9 must be in [0, 33)"));
}

}  // namespace
}  // namespace accrue::nn::nn_linear_cross_entropy_test
