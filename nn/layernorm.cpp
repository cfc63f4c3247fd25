#include "kernels/layernorm.h"

#include "nn/functional.h"

namespace accrue::nn {

Tensor layernorm(Tape& tape, const Tensor& x, const Parameter& gamma, const Parameter& beta, float eps) {
  const Tensor y = empty_like(x);
  const Tensor mean = Tensor::empty({x.shape().rows()}, DType::f32, x.device());
  const Tensor rstd = Tensor::empty({x.shape().rows()}, DType::f32, x.device());
  kernels::layernorm_forward(
      {.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = gamma.value(), .beta = beta.value(), .eps = eps});
  tape.record("layernorm", y, [y_node = Node(y), x, mean, rstd, gamma, beta](Tape& t) {
    kernels::layernorm_backward({.dx = t.grad_slot(x),
                                 .dgamma = t.grad_slot(gamma),
                                 .dbeta = t.grad_slot(beta),
                                 .dy = t.grad(y_node),
                                 .x = x,
                                 .gamma = gamma.value(),
                                 .mean = mean,
                                 .rstd = rstd});
  });
  return y;
}

}  // namespace accrue::nn
