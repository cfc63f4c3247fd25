// GPT-2 in double precision, written as plainly as the formulas: the oracle for a whole model. Forward only; gradients
// come from finite differences (gradcheck.h), so that no derivation is shared with what is tested.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "nn/gpt.h"

namespace accrue::testing {

class ReferenceGpt {
 public:
  using Weights = std::map<std::string, std::vector<double>>;

  // With dropout when config.dropout > 0: the masks of contract 21 for `key`.
  ReferenceGpt(const nn::GptConfig& config, const RandomKey& key = {}) : config_(config), key_(key) {}

  // Logits, row by row, of `batch` samples of `time` tokens.
  std::vector<double> logits(const Weights& w, const std::vector<std::int32_t>& tokens, std::int64_t batch,
                             std::int64_t time) const;

  // Summed cross-entropy over the targets that are not -1.
  double loss(const Weights& w, const std::vector<std::int32_t>& tokens, const std::vector<std::int32_t>& targets,
              std::int64_t batch, std::int64_t time) const;

 private:
  using Row = std::vector<double>;
  using Rows = std::vector<Row>;  // [time][features]

  // 0 or 1 / (1 - p), for one element of one sample at one dropout of the model.
  double mask(std::uint32_t site, std::uint32_t sample, std::uint32_t element) const;
  void drop(Rows& x, std::uint32_t site, std::uint32_t sample) const;
  Rows attention(const Rows& qkv, std::uint32_t site, std::uint32_t sample) const;
  Rows sample_logits(const Weights& w, const std::vector<std::int32_t>& tokens, std::uint32_t sample) const;

  nn::GptConfig config_;
  RandomKey key_;
};

}  // namespace accrue::testing
