// Causal multi-head self-attention, tiled so that no T x T matrix is ever stored.
#pragma once

#include <cstdint>

#include "core/grad_slot.h"
#include "core/rng.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// qkv [B, T, 3*C] holds query, key and value side by side, each [heads, C / heads] (the layout of GPT-2's c_attn).
// y [B, T, C] = softmax(scale * Q K^T + causal mask) V per head; logsumexp f32 [B, heads, T] of the scaled scores is
// kept for the backward. Online softmax over tiles of keys (Milakov & Gimelshein, arXiv:1805.02867; Dao et al.,
// arXiv:2205.14135). dropout p > 0: probability (h, q, k) is kept and divided by 1 - p when uniform(word k % 4 of
// sample_random(key, site, sample, ((h * T + q) * Tp + k) / 4)) >= p, with Tp = T rounded up to 4 (contract 21);
// logsumexp is of the scores without dropout.
// A non-finite key or value reaches every query behind it, and may reach queries before it that share its tile.
// 4*B*T^2*C FLOP / 2 for the causal half | bytes: 4*B*T*C*sizeof(T) | deterministic
struct AttentionForward {
  Tensor y, logsumexp;
  Tensor qkv;
  int heads = 1;
  float scale = 1;
  float dropout_p = 0;
  RandomKey key;
  std::uint32_t site = 0;
};

// dqkv = gradient of qkv given dy; the probabilities are computed again from qkv and logsumexp. dqkv is written whole
// (not accumulated): qkv is the output of one linear layer and nothing else reads it. 10*B*T^2*C FLOP / 2 for the
// causal half | bytes: 9*B*T*C*sizeof(T) | deterministic. On the CPU a head is one thread's: at most B*heads threads.
// On CUDA scores are made twice, for dq and for dk and dv: 14*B*T^2*C FLOP / 2, with 4*B*heads*T bytes of workspace.
struct AttentionBackward {
  Tensor dqkv;
  Tensor dy;
  Tensor y, logsumexp, qkv;
  int heads = 1;
  float scale = 1;
  float dropout_p = 0;
  RandomKey key;
  std::uint32_t site = 0;
};

void attention_forward(const AttentionForward&);
void attention_backward(const AttentionBackward&);

OperationCost cost_of(const AttentionForward&);
OperationCost cost_of(const AttentionBackward&);

namespace cpu {
void attention_forward(const AttentionForward&);
void attention_backward(const AttentionBackward&);
}  // namespace cpu
namespace cuda {
void attention_forward(const AttentionForward&);
void attention_backward(const AttentionBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
