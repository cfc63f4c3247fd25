#include "kernels/layernorm.h"

#include "kernels/residual_layernorm.h"
#include "nn/functional.h"
#include "nn/gradients.h"

namespace accrue::nn {
namespace {

Tensor row_statistic(const Tensor& x) { return Tensor::empty({x.shape().rows()}, DType::f32, x.device()); }

}  // namespace

Tensor layernorm(Tape& tape, const Tensor& x, const Parameter& gamma, const Parameter& beta, float eps) {
  const Tensor y = empty_like(x), mean = row_statistic(x), rstd = row_statistic(x);
  kernels::layernorm_forward(
      {.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = gamma.value(), .beta = beta.value(), .eps = eps});
  record_layernorm(tape, {.y = y, .x = x, .mean = mean, .rstd = rstd, .gamma = gamma, .beta = beta});
  return y;
}

ResidualLayerNorm residual_layernorm(Tape& tape, const Tensor& x, const Tensor& residual, const Parameter& gamma,
                                     const Parameter& beta, float eps) {
  const Tensor sum = empty_like(x), y = empty_like(x), mean = row_statistic(x), rstd = row_statistic(x);
  kernels::residual_layernorm({.sum = sum,
                               .y = y,
                               .mean = mean,
                               .rstd = rstd,
                               .x = x,
                               .residual = residual,
                               .gamma = gamma.value(),
                               .beta = beta.value(),
                               .eps = eps});
  // Two records, since either output may be the one that a later operation reads. The norm unwinds first and adds its
  // part to the sum's gradient, in place where it is the only owner.
  record_add(tape, sum, x, residual);
  record_layernorm(tape, {.y = y, .x = sum, .mean = mean, .rstd = rstd, .gamma = gamma, .beta = beta});
  return {.sum = sum, .y = y};
}

void record_layernorm(Tape& tape, const NormalizedRows& rows) {
  tape.record("layernorm", rows.y,
              [y_node = Node(rows.y), x = rows.x, mean = rows.mean, rstd = rows.rstd, gamma = rows.gamma,
               beta = rows.beta](Tape& t) {
                kernels::layernorm_backward({.dx = t.grad_slot(x),
                                             .dgamma = t.grad_slot(gamma),
                                             .dbeta = t.grad_slot(beta),
                                             .dy = t.grad(y_node),
                                             .x = x,
                                             .gamma = gamma.value(),
                                             .mean = mean,
                                             .rstd = rstd});
              });
}

}  // namespace accrue::nn
