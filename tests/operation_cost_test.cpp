// What the operations say that they cost, against numbers counted by hand.
#include "kernels/operation_cost.h"

#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/bias.h"
#include "kernels/cast.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/find_overflow.h"
#include "kernels/grad_accumulate.h"
#include "kernels/gradient_check.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "kernels/residual_layernorm.h"
#include "kernels/scale.h"
#include "kernels/sgd.h"
#include "kernels/step_control.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::operation_cost_test {
namespace {

using testing::devices;

Tensor f32(const Shape& shape, Device device = Device::cpu()) { return Tensor::zeros(shape, DType::f32, device); }
Tensor bf16(const Shape& shape) { return Tensor::zeros(shape, DType::bf16); }
Tensor i32(const Shape& shape) { return Tensor::zeros(shape, DType::i32); }
GradSlot add_to(const Tensor& tensor) { return {.tensor = tensor, .write = Write::accumulate}; }

void expect_cost(const OperationCost& cost, double flop, double bytes) {
  EXPECT_EQ(cost.flop, flop);
  EXPECT_EQ(cost.bytes, bytes);
}

TEST(OperationCost, OfAMatrixProductIsTwoFlopAPair) {
  // [2, 3] · [3, 5]: 30 pairs; 6, 15 and 10 elements of 4 bytes.
  Matmul op{.out = f32({2, 5}), .a = f32({2, 3}), .b = f32({3, 5})};
  expect_cost(cost_of(op), 60, 24 + 60 + 40);
  op.write = Write::accumulate;
  expect_cost(cost_of(op), 60, 24 + 60 + 80);
}

TEST(OperationCost, OfAMatrixProductSeesTransposesBatchesAndDtypes) {
  expect_cost(
      cost_of(Matmul{.out = f32({2, 5}), .a = f32({3, 2}), .b = f32({5, 3}), .transpose_a = true, .transpose_b = true}),
      60, 124);
  expect_cost(cost_of(Matmul{.out = f32({7, 2, 5}), .a = f32({7, 2, 3}), .b = f32({7, 3, 5})}), 7 * 60, 7 * 124);
  // Leading axes of the first operand are rows.
  expect_cost(cost_of(Matmul{.out = f32({2, 2, 5}), .a = f32({2, 2, 3}), .b = f32({3, 5})}), 120, 48 + 60 + 80);
  expect_cost(cost_of(Matmul{.out = f32({2, 5}), .a = bf16({2, 3}), .b = bf16({3, 5})}), 60, 12 + 30 + 40);
}

TEST(OperationCost, OfFusedLinearLayersIsThatOfTheProductAndOnePassMore) {
  expect_cost(cost_of(LinearGelu{
                  .y = f32({2, 5}), .z = f32({2, 5}), .x = f32({2, 3}), .weight = f32({3, 5}), .bias = f32({5})}),
              60 + 12 * 10, 124 + 40);
  expect_cost(
      cost_of(LinearGeluBackward{.dz = f32({2, 3}), .dy = f32({2, 5}), .weight = f32({3, 5}), .z = f32({2, 3})}),
      60 + 20 * 6, 124 + 24);
  // [3, 2] · [2, 5], which adds to 15 elements.
  const LinearWeightBackward op{.dweight = add_to(f32({3, 5})), .dy = f32({2, 5}), .x = f32({2, 3})};
  expect_cost(cost_of(op), 60, 24 + 40 + 120);
  LinearWeightBackward with_bias{.dweight = {.tensor = f32({5, 3})},
                                 .dbias = {.tensor = f32({5})},
                                 .dy = f32({2, 5}),
                                 .x = f32({2, 3}),
                                 .transpose = true};
  expect_cost(cost_of(with_bias), 60 + 10, 24 + 40 + 60);
}

TEST(OperationCost, OfAttentionIsThatOfTheCausalHalf) {
  // B = 2, T = 4, C = 6: 192 pairs of a query's and a key's component, of which the half counts.
  const Tensor qkv = f32({2, 4, 18}), y = f32({2, 4, 6}), logsumexp = f32({2, 3, 4});
  expect_cost(cost_of(AttentionForward{.y = y, .logsumexp = logsumexp, .qkv = qkv, .heads = 3}), 2 * 192, 4 * 48 * 4);
  expect_cost(cost_of(AttentionBackward{
                  .dqkv = f32({2, 4, 18}), .dy = y, .y = y, .logsumexp = logsumexp, .qkv = qkv, .heads = 3}),
              5 * 192, 9 * 48 * 4);
}

TEST(OperationCost, OfNormalisationCountsRowsAndColumns) {
  const Tensor x = f32({3, 4}), row = f32({3}), column = f32({4});
  expect_cost(cost_of(LayerNormForward{.y = x, .mean = row, .rstd = row, .x = x, .gamma = column, .beta = column}), 96,
              (24 + 8) * 4 + 24);
  LayerNormBackward backward{.dx = {.tensor = x},
                             .dgamma = {.tensor = column},
                             .dbeta = {.tensor = column},
                             .dy = x,
                             .x = x,
                             .gamma = column,
                             .mean = row,
                             .rstd = row};
  expect_cost(cost_of(backward), 168, 36 * 4 + 24 + 48);
  backward.dx = add_to(x);
  expect_cost(cost_of(backward), 168, 48 * 4 + 24 + 48);
  backward.dx = {};
  expect_cost(cost_of(backward), 168, 24 * 4 + 24 + 48);
  expect_cost(cost_of(ResidualLayerNorm{
                  .sum = x, .y = x, .mean = row, .rstd = row, .x = x, .residual = x, .gamma = column, .beta = column}),
              108, (48 + 8) * 4 + 24);
}

TEST(OperationCost, OfElementwiseOperationsIsThatOfTheirElements) {
  const Tensor x = f32({2, 5}), half = bf16({2, 5}), column = f32({5});
  expect_cost(cost_of(ActivationForward{.y = x, .x = x, .kind = Activation::gelu}), 120, 80);
  expect_cost(cost_of(ActivationForward{.y = half, .x = half, .kind = Activation::relu}), 10, 40);
  expect_cost(cost_of(ActivationBackward{.dx = {.tensor = x}, .dy = x, .x = x, .kind = Activation::gelu}), 200, 120);
  expect_cost(cost_of(ActivationBackward{.dx = add_to(x), .dy = x, .x = x, .kind = Activation::relu}), 10, 160);
  expect_cost(cost_of(Add{.out = x, .a = x, .b = x}), 10, 120);
  expect_cost(cost_of(Scale{.out = x, .x = x, .factor_host = 2}), 10, 80);
  expect_cost(cost_of(Cast{.out = half, .x = x}), 0, 60);
  expect_cost(cost_of(Dropout{.out = {.tensor = x}, .x = x, .p = 0.5f}), 0, 80);
  expect_cost(cost_of(Dropout{.out = add_to(x), .x = x, .p = 0.5f}), 0, 120);
  expect_cost(cost_of(BiasForward{.y = x, .x = x, .bias = column}), 10, 100);
  expect_cost(cost_of(BiasBackward{.dbias = {.tensor = column}, .dy = x}), 10, 60);
  expect_cost(cost_of(BiasBackward{.dbias = add_to(column), .dy = half}), 10, 40);
}

TEST(OperationCost, OfEmbeddingsCountsTheRowsThatMayBeTouched) {
  // 2 x 3 ids into 10 rows of 4, and 3 positions of 5 used.
  const Tensor ids = i32({2, 3}), table = f32({10, 4}), positions = f32({5, 4}), y = f32({2, 3, 4});
  expect_cost(cost_of(EmbeddingForward{.y = y, .ids = ids, .table = table, .positions = positions}), 0, 24 + 2 * 96);
  expect_cost(
      cost_of(EmbeddingBackward{.dtable = {.tensor = table}, .dpositions = {.tensor = positions}, .dy = y, .ids = ids}),
      48, 96 + 160 + 80);
  expect_cost(cost_of(EmbeddingBackward{.dtable = add_to(table), .dpositions = add_to(positions), .dy = y, .ids = ids}),
              48, 96 + 2 * 6 * 16 + 2 * 3 * 16);
  // No more rows than there are.
  expect_cost(cost_of(EmbeddingBackward{.dtable = add_to(f32({2, 4})), .dpositions = {}, .dy = y, .ids = ids}), 24,
              96 + 2 * 2 * 16);
}

TEST(OperationCost, OfTheLossCountsThePassesOverTheLogits) {
  for (const Device device : devices()) {
    CrossEntropy op{.terms = empty_loss_terms(device),
                    .logits = f32({3, 7}, device),
                    .targets = Tensor::zeros({3}, DType::i32, device)};
    expect_cost(cost_of(op), 126, 84);
    op.gradient = LossGradient::in_place;
    expect_cost(cost_of(op), 126, device.kind == DeviceKind::cuda ? 3 * 84 : 2 * 84);
  }
}

TEST(OperationCost, OfGradientsAndOptimizersIsThatOfTheirBuffers) {
  const Tensor x = f32({10}), half = bf16({10}), state = make_step_state(Device::cpu());
  expect_cost(cost_of(GradAccumulate{.acc = add_to(x), .incoming = half}), 20, 100);
  expect_cost(cost_of(GradAccumulate{.acc = {.tensor = x}, .incoming = half}), 20, 60);
  expect_cost(cost_of(GradientCheck{.state = state, .gradient = half}), 20, 20);
  expect_cost(cost_of(AdamW{.master = x, .m = x, .v = x, .gradient = x, .state = state}), 150, 280);
  expect_cost(cost_of(AdamW{.master = x, .m = x, .v = x, .compute = half, .gradient = half, .state = state}), 150, 280);
  expect_cost(cost_of(Sgd{.master = x, .buffer = x, .gradient = x, .state = state, .momentum = 0.9}), 60, 200);
  expect_cost(cost_of(Sgd{.master = x, .gradient = half, .state = state}), 60, 100);
}

TEST(OperationCost, OfTheBoundaryIsItsRecords) {
  const Tensor state = make_step_state(Device::cpu());
  const double record = sizeof(StepState);
  expect_cost(cost_of(AddLossTerms{.state = state, .terms = empty_loss_terms(Device::cpu())}), 0, 2 * record + 16);
  expect_cost(cost_of(BeginStep{.state = state, .schedule = {}}), 0, 2 * record);
  expect_cost(cost_of(FinishStep{.state = state, .scaling = {}}), 0, 2 * record);
  expect_cost(cost_of(FindOverflow{.state = state, .gradient = f32({10}), .slices = {}}), 0, 0);
}

}  // namespace
}  // namespace accrue::kernels::operation_cost_test
