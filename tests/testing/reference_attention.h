// Causal attention by its definition, in double precision, and how far a float kernel may be from it.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/shape.h"
#include "tests/testing/compare.h"

namespace accrue::testing::attention {

using Doubles = std::vector<double>;

struct Case {
  std::int64_t batch = 1, tokens = 1, heads = 1, head_size = 1;
  float dropout_p = 0;
  float scale = 0.4f;
  float deviation = 1;  // of the random operands

  std::int64_t channels() const { return heads * head_size; }
  Shape qkv_shape() const { return {batch, tokens, 3 * channels()}; }
  Shape y_shape() const { return {batch, tokens, channels()}; }
  Shape stats_shape() const { return {batch, heads, tokens}; }
  std::string text() const {
    return fmt::format("B {} T {} H {} D {} dropout {}", batch, tokens, heads, head_size, dropout_p);
  }
};

inline const RandomKey random_key = {.seed = 0x0123456789abcdef, .window = 5, .first_sample = 3};
inline constexpr std::uint32_t site = 7;

// The definition in double precision, with the magnitudes that the bounds below are made of.
struct Reference {
  Doubles y, logsumexp, dqkv;
  double max_q = 0, max_k = 0, max_v = 0, max_dy = 0;
  double abs_score = 0;   // max of scale * sum |q| |k|
  double abs_dp = 0;      // max of sum |dy| |v|
  double abs_delta = 0;   // max of sum |dy| |y|
  double sum_abs_dy = 0;  // max of sum |dy|
  double column_sum = 0;  // max over keys of the sum of their probabilities
  double max_abs_logsumexp = 0;
};

inline double keep_factor(const Case& c, std::int64_t b, std::int64_t h, std::int64_t q, std::int64_t k) {
  if (c.dropout_p == 0) return 1;
  const std::int64_t element = (h * c.tokens + q) * ((c.tokens + 3) / 4 * 4) + k;
  const Philox4 words =
      sample_random(random_key, site, static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(element / 4));
  return uniform(words[static_cast<std::size_t>(element % 4)]) >= c.dropout_p
             ? 1 / (1 - static_cast<double>(c.dropout_p))
             : 0;
}

inline Reference reference(const Case& c, const Doubles& qkv, const Doubles& dy) {
  const std::int64_t T = c.tokens, D = c.head_size, C = c.channels();
  Reference r;
  r.y.assign(static_cast<std::size_t>(c.y_shape().numel()), 0);
  r.logsumexp.assign(static_cast<std::size_t>(c.stats_shape().numel()), 0);
  r.dqkv.assign(qkv.size(), 0);
  const auto raise = [](double& bound, double value) { bound = std::max(bound, value); };
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const auto at = [&](std::int64_t part, std::int64_t t, std::int64_t d) {
        return static_cast<std::size_t>((b * T + t) * 3 * C + part * C + h * D + d);
      };
      const auto out = [&](std::int64_t t, std::int64_t d) {
        return static_cast<std::size_t>((b * T + t) * C + h * D + d);
      };
      Doubles column_sums(static_cast<std::size_t>(T));
      for (std::int64_t q = 0; q < T; ++q) {
        Doubles p(static_cast<std::size_t>(q + 1)), keep(p.size()), dp(p.size());
        double max = -std::numeric_limits<double>::infinity(), sum = 0, delta = 0, abs_delta = 0, sum_abs_dy = 0;
        for (std::int64_t k = 0; k <= q; ++k) {
          double s = 0, abs_s = 0, abs_dp = 0;
          for (std::int64_t d = 0; d < D; ++d) {
            s += qkv[at(0, q, d)] * qkv[at(1, k, d)];
            abs_s += std::abs(qkv[at(0, q, d)] * qkv[at(1, k, d)]);
            dp[static_cast<std::size_t>(k)] += dy[out(q, d)] * qkv[at(2, k, d)];
            abs_dp += std::abs(dy[out(q, d)] * qkv[at(2, k, d)]);
          }
          p[static_cast<std::size_t>(k)] = s * static_cast<double>(c.scale);
          max = std::max(max, p[static_cast<std::size_t>(k)]);
          raise(r.abs_score, static_cast<double>(c.scale) * abs_s);
          raise(r.abs_dp, abs_dp);
        }
        for (double& value : p) sum += value = std::exp(value - max);
        const double logsumexp = max + std::log(sum);
        r.logsumexp[static_cast<std::size_t>((b * c.heads + h) * T + q)] = logsumexp;
        raise(r.max_abs_logsumexp, std::abs(logsumexp));
        for (std::int64_t k = 0; k <= q; ++k) {
          const auto i = static_cast<std::size_t>(k);
          p[i] /= sum;
          column_sums[i] += p[i];
          keep[i] = keep_factor(c, b, h, q, k);
          dp[i] *= keep[i];
          delta += p[i] * dp[i];
          for (std::int64_t d = 0; d < D; ++d) r.y[out(q, d)] += p[i] * keep[i] * qkv[at(2, k, d)];
        }
        for (std::int64_t d = 0; d < D; ++d) {
          raise(r.max_q, std::abs(qkv[at(0, q, d)]));
          raise(r.max_k, std::abs(qkv[at(1, q, d)]));
          raise(r.max_v, std::abs(qkv[at(2, q, d)]));
          raise(r.max_dy, std::abs(dy[out(q, d)]));
          abs_delta += std::abs(dy[out(q, d)] * r.y[out(q, d)]);
          sum_abs_dy += std::abs(dy[out(q, d)]);
        }
        raise(r.abs_delta, abs_delta);
        raise(r.sum_abs_dy, sum_abs_dy);
        for (std::int64_t k = 0; k <= q; ++k) {
          const auto i = static_cast<std::size_t>(k);
          const double ds = static_cast<double>(c.scale) * p[i] * (dp[i] - delta);
          for (std::int64_t d = 0; d < D; ++d) {
            r.dqkv[at(0, q, d)] += ds * qkv[at(1, k, d)];
            r.dqkv[at(1, k, d)] += ds * qkv[at(0, q, d)];
            r.dqkv[at(2, k, d)] += p[i] * keep[i] * dy[out(q, d)];
          }
        }
      }
      for (double column_sum : column_sums) raise(r.column_sum, column_sum);
    }
  return r;
}

// First-order error bounds, u the unit roundoff. "Relative" errors are of the probabilities, so they are absolute
// errors of the exponents. An exponential within 2 ulp has relative error 4u.
struct Bounds {
  double y, logsumexp, dq, dk, dv;

  Bounds(const Case& c, const Reference& r) {
    const double u = unit_roundoff(DType::f32);
    const double D = static_cast<double>(c.head_size), T = static_cast<double>(c.tokens);
    const double key_tiles = std::ceil(T / 4);  // whatever the tile: the bound holds for tiles of four keys or more
    const double kept = 1 / (1 - static_cast<double>(c.dropout_p));
    // A dot product of D terms, products rounded too where there is no FMA, of a query that was scaled: D + 2
    // roundings.
    const double score = (D + 2) * u * r.abs_score;
    // score - maximum is rounded, its magnitude is at most twice the largest score.
    const double exponential = score + 2 * u * r.abs_score + 4 * u;
    // Every key tile multiplies by one more exponential (4u), rounded, of a rounded difference; the differences of
    // maxima sum up to at most the range of scores.
    const double rescaling = key_tiles * 5 * u + 2 * u * r.abs_score;
    const double summation = (T + key_tiles) * u;
    // The numerator's and the denominator's relative errors; inversion and product round twice, dropout's factor and
    // its product twice more.
    y = r.max_v * kept * (2 * (exponential + rescaling + summation) + 4 * u);
    // logf is within 1 ulp of a logarithm of at most log(T), then the sum is rounded.
    logsumexp = exponential + rescaling + summation + 2 * u * std::log(T) + u * r.max_abs_logsumexp;
    // e^(score - logsumexp); the difference has at most the range of scores and log(T).
    const double probability = score + logsumexp + u * (2 * r.abs_score + std::log(T)) + 4 * u;
    const double abs_dp = r.abs_dp * kept;  // bounds |delta| as well: y is a convex combination of values, times kept
    const double dp = (D + 3) * u * abs_dp;
    const double delta = (D + 2) * u * r.abs_delta + r.sum_abs_dy * y;
    // dS = P * (dP - delta) with an error of P * ds.
    const double ds = probability * 2 * abs_dp + dp + delta + 4 * u * abs_dp;
    const double scale = static_cast<double>(c.scale);
    // Sums over at most T terms; scale and its product round.
    dq = scale * r.max_k * (ds + (T + key_tiles + 2) * u * 2 * abs_dp);
    dk = scale * r.max_q * r.column_sum * (ds + (T + key_tiles + 2) * u * 2 * abs_dp);
    dv = r.max_dy * kept * r.column_sum * (probability + (T + key_tiles + 2) * u);
  }

  Doubles of_dqkv(const Case& c) const {
    Doubles bounds(static_cast<std::size_t>(c.qkv_shape().numel()));
    const auto C = static_cast<std::size_t>(c.channels());
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      const std::size_t part = i / C % 3;
      bounds[i] = part == 0 ? dq : part == 1 ? dk : dv;
    }
    return bounds;
  }
};

}  // namespace accrue::testing::attention
