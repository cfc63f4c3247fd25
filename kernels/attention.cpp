#include "kernels/attention.h"

#include "kernels/backend.h"

namespace accrue::kernels {
namespace {

// What both directions demand of qkv, y and logsumexp.
template <class Arguments>
void check_operands(std::string_view name, const Arguments& op) {
  const Shape& shape = op.qkv.shape();
  check(shape.rank() == 3 && shape.last() % 3 == 0, "{}: qkv must have shape [B, T, 3*C], but has {}", name, shape);
  const std::int64_t batch = shape[0], tokens = shape[1], channels = shape[2] / 3;
  check(op.heads >= 1 && channels % op.heads == 0, "{}: heads must divide C = {} of qkv {}, but is {}", name, channels,
        shape, op.heads);
  require_shape(name, {"y", op.y}, {batch, tokens, channels}, "to match qkv");
  require_shape(name, {"logsumexp", op.logsumexp}, {batch, op.heads, tokens}, "(batch, heads, tokens)");
  require_float(name, {"qkv", op.qkv});
  require_dtype(name, {"y", op.y}, op.qkv.dtype());
  require_dtype(name, {"logsumexp", op.logsumexp}, DType::f32);
  check(op.dropout_p >= 0 && op.dropout_p < 1, "{}: dropout_p must be in [0, 1), but is {}", name, op.dropout_p);
  // The counter of a sample's random numbers has 32 bits and makes four numbers. The product may pass 2^63: in double.
  const double probabilities =
      static_cast<double>(op.heads) * static_cast<double>(tokens) * static_cast<double>(tokens + 3);
  check(op.dropout_p == 0 || probabilities <= 0x1p34,
        "{}: dropout needs heads * T * T of at most 2^34, but heads is {} and qkv is {}", name, op.heads, shape);
}

// Of one product of queries and keys, or of probabilities and values: 2*B*T^2*C for the whole square.
double causal_product_flop(const Tensor& qkv) { return count_of(qkv) / 3 * static_cast<double>(qkv.shape()[1]); }

}  // namespace

void attention_forward(const AttentionForward& op) {
  constexpr std::string_view name = "attention_forward";
  require_defined(name, {{"qkv", op.qkv}, {"y", op.y}, {"logsumexp", op.logsumexp}});
  require_same_device(name, {{"qkv", op.qkv}, {"y", op.y}, {"logsumexp", op.logsumexp}});
  check_operands(name, op);
  require_disjoint(name, {"y", op.y}, {{"qkv", op.qkv}, {"logsumexp", op.logsumexp}});
  require_disjoint(name, {"logsumexp", op.logsumexp}, {{"qkv", op.qkv}});
  run_on(op.qkv, op, ACCRUE_BACKENDS(attention_forward));
}

void attention_backward(const AttentionBackward& op) {
  constexpr std::string_view name = "attention_backward";
  require_defined(name, {{"qkv", op.qkv}, {"y", op.y}, {"logsumexp", op.logsumexp}, {"dy", op.dy}, {"dqkv", op.dqkv}});
  require_same_device(name,
                      {{"qkv", op.qkv}, {"y", op.y}, {"logsumexp", op.logsumexp}, {"dy", op.dy}, {"dqkv", op.dqkv}});
  check_operands(name, op);
  require_shape(name, {"dy", op.dy}, op.y.shape(), "like y");
  require_shape(name, {"dqkv", op.dqkv}, op.qkv.shape(), "like qkv");
  require_dtype(name, {"dy", op.dy}, op.qkv.dtype());
  require_dtype(name, {"dqkv", op.dqkv}, op.qkv.dtype());
  require_disjoint(name, {"dqkv", op.dqkv}, {{"qkv", op.qkv}, {"y", op.y}, {"dy", op.dy}, {"logsumexp", op.logsumexp}});
  run_on(op.qkv, op, ACCRUE_BACKENDS(attention_backward));
}

OperationCost cost_of(const AttentionForward& op) {
  return {.flop = 2 * causal_product_flop(op.qkv), .bytes = 4 * bytes_of(op.y)};
}

OperationCost cost_of(const AttentionBackward& op) {
  return {.flop = 5 * causal_product_flop(op.qkv), .bytes = 9 * bytes_of(op.y)};
}

}  // namespace accrue::kernels
