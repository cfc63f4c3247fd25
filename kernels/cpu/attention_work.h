// How the CPU's attention cuts its work, and the memory that one thread needs for it.
#pragma once

#include <cstdint>

#include "core/rng.h"

namespace accrue::kernels::cpu {

// Queries and keys are worked off in tiles of this many: a tile of scores and the operands that it is made of fit the
// first-level cache for the usual head sizes.
inline constexpr std::int64_t attention_tile = 64;
// One more cache line than a tile has, so that the rows of a tile spread over all sets of the cache.
inline constexpr std::int64_t attention_score_row = attention_tile + 16;
// The widest strip (two vectors) of any instruction set.
inline constexpr std::int64_t widest_strip = 32;

constexpr std::int64_t rounded_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// What the two directions share. Rows are addressed in elements.
struct AttentionProblem {
  const float* qkv;
  std::int64_t batch, tokens, heads, head_size;
  float scale;
  float dropout_p;
  RandomKey key;
  std::uint32_t site;

  std::int64_t channels() const { return heads * head_size; }
  std::int64_t tiles() const { return (tokens + attention_tile - 1) / attention_tile; }
};

struct AttentionForwardWork {
  AttentionProblem problem;
  float* y;
  float* logsumexp;

  // A piece is a head with the p-th query tile from the front and the p-th from the back: under the causal mask all
  // pairs cost the same.
  std::int64_t pieces_per_head() const { return (problem.tiles() + 1) / 2; }
  std::int64_t pieces() const { return problem.batch * problem.heads * pieces_per_head(); }
};

struct AttentionBackwardWork {
  AttentionProblem problem;
  const float* dy;
  const float* y;
  const float* logsumexp;
  float* dqkv;

  // A piece is a head: then dq, dk and dv have one owner.
  std::int64_t pieces() const { return problem.batch * problem.heads; }
};

// Hands out consecutive parts of a thread's memory, aligned to a cache line; without memory it only counts.
class Carver {
 public:
  explicit Carver(float* memory = nullptr) : memory_(memory) {}
  float* take(std::int64_t floats) {
    float* const part = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += rounded_up(floats, 16);
    return part;
  }
  std::int64_t taken() const { return taken_; }

 private:
  float* memory_;
  std::int64_t taken_ = 0;
};

// Transposed operands are stored strip by strip: [tile / strip][head_size][strip], a strip's queries side by side.
struct AttentionForwardMemory {
  AttentionForwardMemory(Carver& carver, const AttentionProblem& problem)
      : keys(carver.take(problem.tokens * problem.head_size)),
        values(carver.take(problem.tokens * problem.head_size)),
        queries(carver.take(attention_tile * problem.head_size)),
        outputs(carver.take(attention_tile * problem.head_size)),
        scores(carver.take(attention_tile * widest_strip)),
        keep(carver.take(problem.dropout_p > 0 ? attention_tile * widest_strip : 0)),
        maxima(carver.take(attention_tile)),
        sums(carver.take(attention_tile)),
        factors(carver.take(attention_tile)) {}

  float *keys, *values;      // [tokens][head_size] of the head at hand, as far as they are needed
  float *queries, *outputs;  // transposed
  float *scores, *keep;      // [tile keys][strip]
  float *maxima, *sums, *factors;
};

struct AttentionBackwardMemory {
  AttentionBackwardMemory(Carver& carver, const AttentionProblem& problem)
      : row(rounded_up(problem.head_size, widest_strip)),
        keys(carver.take(problem.tokens * problem.head_size)),
        values(carver.take(problem.tokens * problem.head_size)),
        dkeys(carver.take(problem.tokens * row)),
        dvalues(carver.take(problem.tokens * row)),
        queries(carver.take(attention_tile * row)),
        dys(carver.take(attention_tile * row)),
        queries_transposed(carver.take(attention_tile * problem.head_size)),
        dys_transposed(carver.take(attention_tile * problem.head_size)),
        dqueries_transposed(carver.take(attention_tile * problem.head_size)),
        probabilities(carver.take(attention_tile * attention_score_row)),
        dscores(carver.take(attention_tile * attention_score_row)),
        keep(carver.take(problem.dropout_p > 0 ? attention_tile * widest_strip : 0)),
        logsumexp(carver.take(attention_tile)),
        deltas(carver.take(attention_tile)),
        scales(carver.take(attention_tile)) {}

  std::int64_t row;        // head_size rounded up to whole strips
  float *keys, *values;    // [tokens][head_size]
  float *dkeys, *dvalues;  // [tokens][row]
  float *queries, *dys;    // [tile][row], padded with zeros
  float *queries_transposed, *dys_transposed, *dqueries_transposed;
  float *probabilities, *dscores;      // [tile keys][attention_score_row]: queries side by side
  float* keep;                         // [tile keys][strip]
  float *logsumexp, *deltas, *scales;  // [tile queries]
};

}  // namespace accrue::kernels::cpu
