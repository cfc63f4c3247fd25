#include "tests/testing/reference_gpt.h"

#include <cmath>

namespace accrue::testing {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;  // [time][features]

Rows linear(const Rows& x, const std::vector<double>& weight, const std::vector<double>& bias) {
  Rows y(x.size(), bias);
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t i = 0; i < x[t].size(); ++i)
      for (std::size_t o = 0; o < bias.size(); ++o) y[t][o] += x[t][i] * weight[i * bias.size() + o];
  return y;
}

Rows layernorm(const Rows& x, const std::vector<double>& gamma, const std::vector<double>& beta) {
  Rows y = x;
  for (Row& row : y) {
    const auto count = static_cast<double>(row.size());
    double mean = 0, variance = 0;
    for (const double value : row) mean += value / count;
    for (const double value : row) variance += (value - mean) * (value - mean) / count;
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = (row[i] - mean) / std::sqrt(variance + 1e-5) * gamma[i] + beta[i];
  }
  return y;
}

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

void add(Rows& x, const Rows& y) {
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
}

}  // namespace

std::vector<double> ReferenceGpt::logits(const Weights& w, const std::vector<std::int32_t>& tokens, std::int64_t batch,
                                         std::int64_t time) const {
  std::vector<double> all;
  for (std::int64_t sample = 0; sample < batch; ++sample) {
    const Rows x = sample_logits(
        w, std::vector<std::int32_t>(tokens.begin() + sample * time, tokens.begin() + (sample + 1) * time),
        static_cast<std::uint32_t>(sample));
    for (const Row& row : x) all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

double ReferenceGpt::loss(const Weights& w, const std::vector<std::int32_t>& tokens,
                          const std::vector<std::int32_t>& targets, std::int64_t batch, std::int64_t time) const {
  const std::vector<double> all = logits(w, tokens, batch, time);
  const auto vocabulary = static_cast<std::size_t>(config_.vocabulary);
  double sum = 0;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] == -1) continue;
    double exponentials = 0;
    for (std::size_t v = 0; v < vocabulary; ++v) exponentials += std::exp(all[row * vocabulary + v]);
    sum += std::log(exponentials) - all[row * vocabulary + static_cast<std::size_t>(targets[row])];
  }
  return sum;
}

double ReferenceGpt::mask(std::uint32_t site, std::uint32_t sample, std::uint32_t element) const {
  const double p = config_.dropout;
  if (p == 0) return 1;
  return uniform(sample_random(key_, site, sample, element / 4)[element % 4]) >= config_.dropout ? 1 / (1 - p) : 0;
}

void ReferenceGpt::drop(Rows& x, std::uint32_t site, std::uint32_t sample) const {
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t i = 0; i < x[t].size(); ++i)
      x[t][i] *= mask(site, sample, static_cast<std::uint32_t>(t * x[t].size() + i));
}

ReferenceGpt::Rows ReferenceGpt::attention(const Rows& qkv, std::uint32_t site, std::uint32_t sample) const {
  const std::size_t time = qkv.size(), width = qkv[0].size() / 3, heads = static_cast<std::size_t>(config_.heads),
                    each = width / heads;
  const std::size_t padded_time = (time + 3) / 4 * 4;
  Rows y(time, Row(width));
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t q = 0; q < time; ++q) {
      Row weights(q + 1);
      double sum = 0;
      for (std::size_t k = 0; k <= q; ++k) {
        double score = 0;
        for (std::size_t i = 0; i < each; ++i) score += qkv[q][h * each + i] * qkv[k][width + h * each + i];
        sum += weights[k] = std::exp(score / std::sqrt(static_cast<double>(each)));
      }
      for (std::size_t k = 0; k <= q; ++k) {
        const double p =
            weights[k] / sum * mask(site, sample, static_cast<std::uint32_t>((h * time + q) * padded_time + k));
        for (std::size_t i = 0; i < each; ++i) y[q][h * each + i] += p * qkv[k][2 * width + h * each + i];
      }
    }
  }
  return y;
}

ReferenceGpt::Rows ReferenceGpt::sample_logits(const Weights& w, const std::vector<std::int32_t>& tokens,
                                               std::uint32_t sample) const {
  const auto width = static_cast<std::size_t>(config_.width), vocabulary = static_cast<std::size_t>(config_.vocabulary);
  const std::vector<double>& table = w.at("wte.weight");
  Rows x(tokens.size(), Row(width));
  for (std::size_t t = 0; t < tokens.size(); ++t)
    for (std::size_t i = 0; i < width; ++i)
      x[t][i] = table[static_cast<std::size_t>(tokens[t]) * width + i] + w.at("wpe.weight")[t * width + i];
  drop(x, 0, sample);
  for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
    const std::string block = "h." + std::to_string(layer) + ".";
    const auto site =
        static_cast<std::uint32_t>(1 + 3 * layer);  // attention probabilities, attention branch, MLP branch
    const auto apply = [&](const std::string& name, const Rows& input) {
      return linear(input, w.at(block + name + ".weight"), w.at(block + name + ".bias"));
    };
    const auto norm = [&](const std::string& name) {
      return layernorm(x, w.at(block + name + ".weight"), w.at(block + name + ".bias"));
    };

    Rows branch = apply("attn.c_proj", attention(apply("attn.c_attn", norm("ln_1")), site, sample));
    drop(branch, site + 1, sample);
    add(x, branch);

    Rows hidden = apply("mlp.c_fc", norm("ln_2"));
    for (Row& row : hidden)
      for (double& value : row) value = gelu(value);
    branch = apply("mlp.c_proj", hidden);
    drop(branch, site + 2, sample);
    add(x, branch);
  }
  const Rows last = layernorm(x, w.at("ln_f.weight"), w.at("ln_f.bias"));
  Rows scores(tokens.size(), Row(vocabulary));
  for (std::size_t t = 0; t < tokens.size(); ++t)
    for (std::size_t v = 0; v < vocabulary; ++v)
      for (std::size_t i = 0; i < width; ++i) scores[t][v] += last[t][i] * table[v * width + i];
  return scores;
}

}  // namespace accrue::testing
