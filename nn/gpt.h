// GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019).
#pragma once

#include <vector>

#include "nn/cross_entropy.h"
#include "nn/layers.h"

namespace accrue::nn {

// Causal multi-head self-attention with its two projections; x [B, T, width] -> [B, T, width].
class CausalSelfAttention final : public Module {
 public:
  CausalSelfAttention(std::int64_t width, int heads, float dropout, Initializer weight, Initializer projection);
  void register_into(Registry registry) override;
  Tensor forward(Tape& tape, const Tensor& x) const override;

 private:
  int heads_;
  float p_;
  Linear qkv_, projection_;
  std::uint32_t site_ = 0;
};

struct GptConfig {
  std::int64_t vocabulary = 256;
  std::int64_t context = 64;
  std::int64_t layers = 4;
  int heads = 4;
  std::int64_t width = 128;
  float dropout = 0;  // on the embeddings, the attention probabilities and both residual branches
  // Keep only each block's input; compute its inside again in the backward pass. The tape then refers to the Gpt's
  // blocks: the Gpt must live until the tape has unwound.
  bool recompute = false;

  // Throws Error(usage) naming the option unless all are possible together.
  void validate() const;
};

// Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)) with a hidden width of 4 * width and GELU.
class GptBlock final : public Module {
 public:
  explicit GptBlock(const GptConfig& config);
  void register_into(Registry registry) override;
  Tensor forward(Tape& tape, const Tensor& x) const override;

 private:
  LayerNorm norm1_, norm2_;
  CausalSelfAttention attention_;
  Linear expand_, contract_;
  Dropout attention_dropout_, mlp_dropout_;
};

// Parameters carry Hugging Face's names and layouts ("h.0.attn.c_attn.weight" [width, 3 * width]); the head is tied to
// the token embedding. Initialised as GPT-2: normal 0.02, residual projections 0.02 / sqrt(2 * layers), biases 0.
class Gpt final : public Module {
 public:
  explicit Gpt(const GptConfig& config);
  const GptConfig& config() const { return config_; }

  void register_into(Registry registry) override;
  // Logits [B, T, vocabulary] of ids i32 [B, T], T <= context.
  Tensor forward(Tape& tape, const Tensor& ids) const override;
  Loss loss(Tape& tape, const Tensor& ids, const Tensor& targets) const;
  // Logits f32 [vocabulary] that follow the last of ids i32 [1, T]; for sampling.
  Tensor next_logits(const Tensor& ids) const;

 private:
  Tensor hidden(Tape& tape, const Tensor& ids) const;  // [B, T, width] after the last norm

  GptConfig config_;
  Parameter token_table_, position_table_;
  Dropout embedding_dropout_;
  std::vector<GptBlock> blocks_;
  LayerNorm final_norm_;
};

}  // namespace accrue::nn
