// Operations with gradients: each runs its forward kernel and records its backward on the tape. Errors: Error(internal)
// for operands whose shape, dtype or device does not fit, with the operand's name; Error(memory) where an output does
// not fit; Error(bad_data) for an id outside its table.
//
// A tensor that an operation has saved for its backward may be read by other operations, but by none be overwritten:
// whoever works in place on a buffer first asks whether it has another handle (Tensor::shares_storage).
// nn::cross_entropy does so with its logits.
#pragma once

#include <cstdint>
#include <functional>

#include "core/parameter.h"
#include "core/tape.h"
#include "kernels/activation.h"

namespace accrue::nn {

// How a linear layer's weight lies in memory.
enum class WeightLayout {
  in_out,  // [in, out]: y = x W, the layout of Hugging Face's Conv1D and of Accrue's own layers
  out_in,  // [out, in]: y = x W^T, as for a head tied to an embedding table [vocabulary, width]
};

// y [..., out] = x [..., in] · weight + bias [out]; bias may be undefined.
Tensor linear(Tape& tape, const Tensor& x, const Parameter& weight, const Parameter& bias = {},
              WeightLayout layout = WeightLayout::in_out);

// y [..., T, C] = table [V, C] at ids i32 [..., T], plus positions [>= T, C] where that is defined.
Tensor embedding(Tape& tape, const Tensor& ids, const Parameter& table, const Parameter& positions = {});

// y [..., C] = (x - mean) / sqrt(variance + eps) * gamma + beta over the last axis of x [..., C]; gamma, beta [C].
Tensor layernorm(Tape& tape, const Tensor& x, const Parameter& gamma, const Parameter& beta, float eps = 1e-5f);

// sum = x + residual and y = layernorm(sum), of one shape, in one pass over memory; the same bits as add() followed by
// layernorm(), forward and backward.
struct ResidualLayerNorm {
  Tensor sum, y;
};
ResidualLayerNorm residual_layernorm(Tape& tape, const Tensor& x, const Tensor& residual, const Parameter& gamma,
                                     const Parameter& beta, float eps = 1e-5f);

// y = kind(x), element by element, of x's shape.
Tensor activation(Tape& tape, const Tensor& x, kernels::Activation kind);
inline Tensor gelu(Tape& tape, const Tensor& x) { return activation(tape, x, kernels::Activation::gelu); }
inline Tensor relu(Tape& tape, const Tensor& x) { return activation(tape, x, kernels::Activation::relu); }

// y [..., out] = linear(gelu(linear(x [..., in]))), the MLP of a transformer block: up [in, hidden], down [hidden,
// out], the biases may be undefined. Has the bits of those three functions, unless products compute GELU in the same
// pass (kernels/matmul_epilogues.h).
struct FeedForward {
  Parameter up, up_bias, down, down_bias;
};
Tensor feed_forward(Tape& tape, const Tensor& x, const FeedForward& parameters);

// Inverted dropout of x's shape, active on training tapes, otherwise x itself; `site` tells the dropouts of a model
// apart (nn::Registry hands them out).
Tensor dropout(Tape& tape, const Tensor& x, float p, std::uint32_t site);

// a + b, of one shape. Backward hands dy to both without a copy.
Tensor add(Tape& tape, const Tensor& a, const Tensor& b);

// x in another floating-point dtype; x itself if it has that one. The gradient is converted back.
Tensor cast(Tape& tape, const Tensor& x, DType dtype);

// x's elements in order, seen as another shape of as many elements; shares x's bytes. (Tensor::view is not recorded.)
Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape);

// y [B, T, C] from qkv [B, T, 3C]: softmax(Q K^T / sqrt(C / heads)) V, causal, with dropout p on the probabilities.
Tensor causal_attention(Tape& tape, const Tensor& qkv, int heads, float p = 0, std::uint32_t site = 0);

// y = function(tape, x), whose inner activations are freed at once and computed again in the backward pass (activation
// checkpointing: Chen et al., arXiv:1604.06174). Changes no bit of the gradient (contract 22): every random number of
// the second forward is that of the first. Tensors that `function` captures get their gradients as x does. The tape
// keeps a copy of `function` until it has unwound: what it refers to must live as long, and stay as it is.
Tensor recompute(Tape& tape, const Tensor& x, const std::function<Tensor(Tape&, const Tensor&)>& function);

}  // namespace accrue::nn
