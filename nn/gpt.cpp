#include "nn/gpt.h"

#include <cmath>
#include <string>

#include "kernels/cast.h"

namespace accrue::nn {
namespace {

constexpr float initial_deviation = 0.02f;

// Residual branches add up over depth; scaling their last layer keeps the sum's variance (GPT-2 paper, section 2.3).
Initializer projection_initializer(const GptConfig& config) {
  return Initializer::normal(initial_deviation / std::sqrt(2.0f * static_cast<float>(config.layers)));
}

// Before any layer is made from it: a layer's own complaint would name no option.
const GptConfig& validated(const GptConfig& config) {
  config.validate();
  return config;
}

}  // namespace

CausalSelfAttention::CausalSelfAttention(std::int64_t width, int heads, float dropout, Initializer weight,
                                         Initializer projection)
    : heads_(heads), p_(dropout), qkv_(width, 3 * width, weight), projection_(width, width, projection) {}

void CausalSelfAttention::register_into(Registry registry) {
  registry.module("c_attn", qkv_);
  registry.module("c_proj", projection_);
  site_ = registry.dropout_site();
}

Tensor CausalSelfAttention::forward(Tape& tape, const Tensor& x) const {
  return projection_.forward(tape, causal_attention(tape, qkv_.forward(tape, x), heads_, p_, site_));
}

GptBlock::GptBlock(const GptConfig& config)
    : norm1_(config.width),
      norm2_(config.width),
      attention_(config.width, config.heads, config.dropout, Initializer::normal(initial_deviation),
                 projection_initializer(config)),
      expand_(config.width, 4 * config.width, Initializer::normal(initial_deviation)),
      contract_(4 * config.width, config.width, projection_initializer(config)),
      attention_dropout_(config.dropout),
      mlp_dropout_(config.dropout) {}

void GptBlock::register_into(Registry registry) {
  registry.module("ln_1", norm1_);
  registry.module("attn", attention_);
  registry.module("ln_2", norm2_);
  registry.module("mlp.c_fc", expand_);
  registry.module("mlp.c_proj", contract_);
  attention_dropout_.register_into(registry);
  mlp_dropout_.register_into(registry);
}

Tensor GptBlock::forward(Tape& tape, const Tensor& x) const {
  const Tensor attended = attention_.forward(tape, norm1_.forward(tape, x));
  const auto [middle, normalized] = norm2_.forward(tape, x, attention_dropout_.forward(tape, attended));
  const Tensor fed_forward = feed_forward(
      tape, normalized,
      {.up = expand_.weight(), .up_bias = expand_.bias(), .down = contract_.weight(), .down_bias = contract_.bias()});
  return add(tape, middle, mlp_dropout_.forward(tape, fed_forward));
}

Gpt::Gpt(const GptConfig& config)
    : config_(validated(config)), embedding_dropout_(config.dropout), final_norm_(config.width) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) blocks_.emplace_back(config);
}

void Gpt::register_into(Registry registry) {
  token_table_ =
      registry.parameter("wte.weight", {config_.vocabulary, config_.width}, Initializer::normal(initial_deviation));
  position_table_ =
      registry.parameter("wpe.weight", {config_.context, config_.width}, Initializer::normal(initial_deviation));
  embedding_dropout_.register_into(registry);
  for (std::size_t i = 0; i < blocks_.size(); ++i) registry.module("h." + std::to_string(i), blocks_[i]);
  registry.module("ln_f", final_norm_);
}

Tensor Gpt::hidden(Tape& tape, const Tensor& ids) const {
  check(ids.shape().rank() == 2 && ids.shape()[1] <= config_.context,
        "Gpt: ids must have shape [batch, time] with time at most the context of {}, but has {}", config_.context,
        ids.shape());
  Tensor x = embedding_dropout_.forward(tape, embedding(tape, ids, token_table_, position_table_));
  for (const GptBlock& block : blocks_) {
    const auto run = [&block](Tape& t, const Tensor& input) { return block.forward(t, input); };
    x = config_.recompute ? recompute(tape, x, run) : run(tape, x);
  }
  return final_norm_.forward(tape, x);
}

Tensor Gpt::forward(Tape& tape, const Tensor& ids) const {
  return linear(tape, hidden(tape, ids), token_table_, {}, WeightLayout::out_in);
}

Loss Gpt::loss(Tape& tape, const Tensor& ids, const Tensor& targets) const {
  return linear_cross_entropy(
      tape, {.hidden = hidden(tape, ids), .weight = token_table_, .layout = WeightLayout::out_in, .targets = targets});
}

Tensor Gpt::next_logits(const Tensor& ids) const {
  check(ids.shape().rank() == 2 && ids.shape()[0] == 1 && ids.shape()[1] >= 1,
        "Gpt: next_logits needs ids of shape [1, time], but has {}", ids.shape());
  Tape tape = Tape::inference();
  const Tensor states = hidden(tape, ids);
  const Tensor last = states.view({1, config_.width}, (ids.shape()[1] - 1) * config_.width);
  const Tensor logits = linear(tape, last, token_table_, {}, WeightLayout::out_in).view({config_.vocabulary});
  return kernels::as_dtype(logits, DType::f32);
}

}  // namespace accrue::nn
