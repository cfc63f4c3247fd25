#include "train/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/rng.h"
#include "train/tokenizer.h"

namespace accrue::train {

std::int32_t choose_token(std::span<const float> logits, const SamplingOptions& options, double uniform) {
  check(!logits.empty(), "choose_token: no logits");
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity()))
      fail(ErrorKind::numeric, "the model's logit of token {} is {}; its training has diverged", i, logits[i]);
  }
  std::vector<std::int32_t> ranked(logits.size());
  std::iota(ranked.begin(), ranked.end(), 0);
  const auto logit = [&](std::int32_t token) { return logits[static_cast<std::size_t>(token)]; };
  std::stable_sort(ranked.begin(), ranked.end(), [&](std::int32_t a, std::int32_t b) { return logit(a) > logit(b); });
  if (std::isinf(logit(ranked.front())))
    fail(ErrorKind::numeric, "every logit of the model is -inf; its training has diverged");
  if (options.temperature == 0) return ranked.front();
  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(ranked.size()))
    ranked.resize(static_cast<std::size_t>(options.top_k));

  std::vector<double> cumulative;
  double total = 0;
  for (const std::int32_t token : ranked)
    cumulative.push_back(total += std::exp((double{logit(token)} - logit(ranked.front())) / options.temperature));
  const auto chosen = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * total);
  return ranked[static_cast<std::size_t>(std::min(chosen - cumulative.begin(), std::ssize(ranked) - 1))];
}

void generate(const nn::Gpt& model, std::string_view prompt, const SamplingOptions& options, Device device,
              const std::function<void(std::string_view)>& emit) {
  const ByteTokenizer tokenizer;
  std::vector<std::int32_t> tokens = tokenizer.encode(prompt.empty() ? "\n" : prompt);
  for (const std::int32_t token : tokens) {
    if (token >= model.config().vocabulary)
      fail(ErrorKind::bad_data, "--prompt: byte {} is outside the model's vocabulary of {} tokens", token,
           model.config().vocabulary);
  }
  // Logits of tokens that are no bytes (a model with a larger vocabulary) can never be chosen.
  const auto choices =
      static_cast<std::size_t>(std::min<std::int64_t>(model.config().vocabulary, ByteTokenizer::vocabulary));
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const auto seen = std::min<std::int64_t>(std::ssize(tokens), model.config().context);
    const std::span<const std::int32_t> recent = std::span(tokens).last(static_cast<std::size_t>(seen));
    const Tensor logits = model.next_logits(Tensor::from<std::int32_t>(recent, {1, seen}, device));
    const std::vector<float> values = logits.to_vector<float>();
    const Philox4 random =
        philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), 0, 0}, options.seed);
    const double uniform = (random[0] * 0x1p32 + random[1]) * 0x1p-64;
    tokens.push_back(choose_token(std::span(values).first(choices), options, uniform));
    emit(tokenizer.decode(std::span(tokens).last(1)));
  }
}

}  // namespace accrue::train
