#include "kernels/residual_layernorm.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void residual_layernorm(const ResidualLayerNorm& op) {
  constexpr std::string_view name = "residual_layernorm";
  const Operand sum{"sum", op.sum}, y{"y", op.y}, mean{"mean", op.mean}, rstd{"rstd", op.rstd};
  const Operand x{"x", op.x}, residual{"residual", op.residual}, gamma{"gamma", op.gamma}, beta{"beta", op.beta};
  require_defined(name, {sum, y, mean, rstd, x, residual, gamma, beta});
  require_same_device(name, {x, residual, sum, y, mean, rstd, gamma, beta});
  require_float(name, x);
  const Shape& shape = op.x.shape();
  check(shape.rank() >= 1 && shape.last() >= 1, "{}: x must have a last axis of at least 1 element, but has shape {}",
        name, shape);
  for (const Operand& like_x : {residual, sum, y}) {
    require_shape(name, like_x, shape, "like x");
    require_dtype(name, like_x, op.x.dtype());
  }
  for (const Operand& statistic : {mean, rstd}) {
    require_dtype(name, statistic, DType::f32);
    require_shape(name, statistic, {shape.rows()}, fmt::format("to match the rows of x {}", shape));
  }
  for (const Operand& parameter : {gamma, beta}) {
    require_dtype(name, parameter, op.x.dtype());
    require_shape(name, parameter, {shape.last()}, fmt::format("to match the last axis of x {}", shape));
  }
  require_no_partial_overlap(name, sum, x);
  require_no_partial_overlap(name, sum, residual);
  require_no_partial_overlap(name, y, x);
  require_no_partial_overlap(name, y, residual);
  require_disjoint(name, y, {sum, gamma, beta, mean, rstd});
  require_disjoint(name, sum, {gamma, beta, mean, rstd});
  require_disjoint(name, mean, {rstd, x, residual, gamma, beta});
  require_disjoint(name, rstd, {x, residual, gamma, beta});
  check(op.eps >= 0, "{}: eps must not be negative, but is {}", name, op.eps);
  run_on(op.x, op, ACCRUE_BACKENDS(residual_layernorm));
}

OperationCost cost_of(const ResidualLayerNorm& op) {
  return {.flop = 9 * count_of(op.x),
          .bytes = bytes_of(op.sum, op.y, op.mean, op.rstd, op.x, op.residual, op.gamma, op.beta)};
}

}  // namespace accrue::kernels
