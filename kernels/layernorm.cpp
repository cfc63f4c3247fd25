#include "kernels/layernorm.h"

#include "kernels/backend.h"

namespace accrue::kernels {

namespace {

void require_matrix(std::string_view name, const Operand& operand) {
  const Shape& shape = operand.tensor.shape();
  check(shape.rank() >= 1 && shape.last() >= 1, "{}: {} must have a last axis of at least 1 element, but has shape {}",
        name, operand.name, shape);
}

void require_row_statistic(std::string_view name, const Operand& operand, const Tensor& x) {
  require_dtype(name, operand, DType::f32);
  require_shape(name, operand, {x.shape().rows()}, fmt::format("to match the rows of x {}", x.shape()));
}

void require_column_parameter(std::string_view name, const Operand& operand, const Tensor& x, DType dtype) {
  require_dtype(name, operand, dtype);
  require_shape(name, operand, {x.shape().last()}, fmt::format("to match the last axis of x {}", x.shape()));
}

}  // namespace

void layernorm_forward(const LayerNormForward& op) {
  constexpr std::string_view name = "layernorm_forward";
  const Operand y{"y", op.y}, mean{"mean", op.mean}, rstd{"rstd", op.rstd};
  const Operand x{"x", op.x}, gamma{"gamma", op.gamma}, beta{"beta", op.beta};
  require_defined(name, {y, mean, rstd, x, gamma, beta});
  require_same_device(name, {x, y, mean, rstd, gamma, beta});
  require_float(name, x);
  require_matrix(name, x);
  require_shape(name, y, op.x.shape(), "like x");
  require_dtype(name, y, op.x.dtype());
  require_row_statistic(name, mean, op.x);
  require_row_statistic(name, rstd, op.x);
  require_column_parameter(name, gamma, op.x, op.x.dtype());
  require_column_parameter(name, beta, op.x, op.x.dtype());
  require_no_partial_overlap(name, y, x);
  check(op.eps >= 0, "{}: eps must not be negative, but is {}", name, op.eps);
  run_on(op.x, op, ACCRUE_BACKENDS(layernorm_forward));
}

void layernorm_backward(const LayerNormBackward& op) {
  constexpr std::string_view name = "layernorm_backward";
  const Operand dx{"dx", op.dx.tensor}, dgamma{"dgamma", op.dgamma.tensor}, dbeta{"dbeta", op.dbeta.tensor};
  const Operand dy{"dy", op.dy}, x{"x", op.x}, gamma{"gamma", op.gamma}, mean{"mean", op.mean}, rstd{"rstd", op.rstd};
  require_defined(name, {dy, x, gamma, mean, rstd});
  require_same_device(name, {x, dy, gamma, mean, rstd, dx, dgamma, dbeta});
  require_float(name, x);
  require_matrix(name, x);
  require_shape(name, dy, op.x.shape(), "like x");
  require_dtype(name, dy, op.x.dtype());
  require_row_statistic(name, mean, op.x);
  require_row_statistic(name, rstd, op.x);
  require_column_parameter(name, gamma, op.x, op.x.dtype());
  if (op.dx) {
    require_shape(name, dx, op.x.shape(), "like x");
    require_dtype(name, dx, op.x.dtype());
    require_no_partial_overlap(name, dx, dy);
    require_no_partial_overlap(name, dx, x);
  }
  if (op.dgamma) require_column_parameter(name, dgamma, op.x, DType::f32);
  if (op.dbeta) require_column_parameter(name, dbeta, op.x, DType::f32);
  require_disjoint(name, dx, {gamma, mean, rstd});
  require_disjoint(name, dgamma, {dx, dbeta, dy, x, gamma, mean, rstd});
  require_disjoint(name, dbeta, {dx, dy, x, gamma, mean, rstd});
  run_on(op.x, op, ACCRUE_BACKENDS(layernorm_backward));
}

OperationCost cost_of(const LayerNormForward& op) {
  return {.flop = 8 * count_of(op.x), .bytes = bytes_of(op.y, op.mean, op.rstd, op.x, op.gamma, op.beta)};
}

OperationCost cost_of(const LayerNormBackward& op) {
  return {.flop = 14 * count_of(op.x),
          .bytes = bytes_of(op.dx) + bytes_of(op.dy, op.x, op.mean, op.rstd) + 12 * count_of(op.gamma)};
}

}  // namespace accrue::kernels
