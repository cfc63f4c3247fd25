#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention_work.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_cpu.cpp"
#include "kernels/cpu/simd.h"
// After simd.h, which knows the targets.
#include "kernels/cpu/philox-inl.h"
#include "kernels/cpu/tile_gemm-inl.h"

// Scores are computed transposed: a vector holds one key's scores of several queries. So the softmax needs no reduction
// across lanes, keys and values are read as single elements (any head size, no padding), and the diagonal is cut in
// strips of two vectors of queries.
//
// A non-finite key or value reaches all queries behind it, as it must, and may also reach the queries before it that
// share its strip: 0 * inf is NaN.

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {
namespace {

// Where a head's rows are.
struct Head {
  Head(const AttentionProblem& problem, std::int64_t index)
      : sample(index / problem.heads),
        head(index % problem.heads),
        qkv_row(3 * problem.channels()),
        y_row(problem.channels()),
        qkv_offset(sample * problem.tokens * qkv_row + head * problem.head_size),
        y_offset(sample * problem.tokens * y_row + head * problem.head_size),
        stats_offset(index * problem.tokens) {}

  std::int64_t sample, head, qkv_row, y_row, qkv_offset, y_offset, stats_offset;
};

void copy_rows(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns, float* to,
               std::int64_t to_row) {
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(to + r * to_row, from + r * from_row, static_cast<std::size_t>(columns) * sizeof(float));
}

// Rows [0, rows) of a tile, transposed strip by strip; queries that a last strip lacks are zero.
void transpose_to_strips(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns,
                         float factor, float* strips) {
  const std::int64_t width = strip_width();
  for (std::int64_t begin = 0; begin < rows; begin += width, strips += columns * width) {
    const std::int64_t present = std::min(width, rows - begin);
    if (present < width) std::fill_n(strips, columns * width, 0.0f);
    transpose_scaled(from + begin * from_row, from_row, present, columns, factor, strips, width);
  }
}

void transpose_from_strips(const float* strips, const float* factors, std::int64_t rows, std::int64_t columns,
                           float* to, std::int64_t to_row) {
  const std::int64_t width = strip_width();
  for (std::int64_t begin = 0; begin < rows; begin += width, strips += columns * width)
    transpose_scaled_columns(strips, width, columns, std::min(width, rows - begin), factors + begin,
                             to + begin * to_row, to_row);
}

// A strip of queries against a tile of keys.
struct Strip {
  std::int64_t first_query, first_key;
  std::int64_t keys;  // how many of the tile's keys any of the queries may see

  Strip(std::int64_t query, std::int64_t key, std::int64_t tokens)
      : first_query(query),
        first_key(key),
        keys(std::min({query + strip_width(), key + attention_tile, tokens}) - key) {}
};

// The scores of keys behind a query become -inf.
HWY_INLINE void mask_future(const Strip& strip, float* scores, std::int64_t row) {
  const F32 d;
  const std::int64_t n = lanes();
  const Floats lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const Floats left = hn::Iota(d, 0.0f), right = hn::Iota(d, static_cast<float>(n));
  for (std::int64_t key = std::max<std::int64_t>(0, strip.first_query - strip.first_key + 1); key < strip.keys; ++key) {
    const Floats first_seeing = hn::Set(d, static_cast<float>(strip.first_key + key - strip.first_query));
    float* s = scores + key * row;
    hn::Store(hn::IfThenElse(hn::Ge(left, first_seeing), hn::Load(d, s), lowest), d, s);
    hn::Store(hn::IfThenElse(hn::Ge(right, first_seeing), hn::Load(d, s + n), lowest), d, s + n);
  }
}

// keep[key][query] = 1 / (1 - p) where the probability is kept, 0 where it is dropped.
void fill_keep(const AttentionProblem& problem, const Head& head, const Strip& strip, float* keep) {
  const F32 d;
  const U32 du;
  const std::int64_t n = lanes();
  const std::int64_t quads = rounded_up(problem.tokens, 4) / 4;  // in a query's row of probabilities
  const Floats p = hn::Set(d, problem.dropout_p), kept = hn::Set(d, 1.0f / (1.0f - problem.dropout_p));
  const Words sample = hn::Set(du, problem.key.first_sample + static_cast<std::uint32_t>(head.sample));
  const Words row_quads = hn::Set(du, static_cast<std::uint32_t>(quads));
  const PhiloxKeys keys(problem.key.seed);
  for (std::int64_t key = 0; key < strip.keys; key += 4)
    for (std::int64_t side = 0; side < 2; ++side) {
      const std::int64_t query = strip.first_query + side * n;
      const std::int64_t quad = (head.head * problem.tokens + query) * quads + (strip.first_key + key) / 4;
      Words word[4] = {hn::Add(hn::Mul(hn::Iota(du, 0), row_quads), hn::Set(du, static_cast<std::uint32_t>(quad))),
                       sample, hn::Set(du, problem.key.window), hn::Set(du, problem.site)};
      philox4x32(word, keys);
      for (int i = 0; i < 4; ++i)
        hn::Store(hn::IfThenElseZero(hn::Ge(uniform(word[i]), p), kept), d, keep + (key + i) * 2 * n + side * n);
    }
}

// ---- forward ----

// Scores to e^(score - maximum); maxima and sums of the strip's queries move on, factors are for what was summed
// before.
HWY_INLINE void softmax_step(float* scores, std::int64_t keys, float* maxima, float* sums, float* factors) {
  const F32 d;
  const std::int64_t n = lanes(), width = 2 * n;
  const Floats old0 = hn::Load(d, maxima), old1 = hn::Load(d, maxima + n);
  Floats max0 = old0, max1 = old1;
  for (std::int64_t key = 0; key < keys; ++key) {
    max0 = hn::Max(max0, hn::Load(d, scores + key * width));
    max1 = hn::Max(max1, hn::Load(d, scores + key * width + n));
  }
  hn::Store(max0, d, maxima);
  hn::Store(max1, d, maxima + n);
  // Where every score so far is -inf, a finite shift gives the zeros that they stand for; -inf would give NaN.
  const Floats lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  const Floats shift0 = hn::Max(max0, lowest), shift1 = hn::Max(max1, lowest);
  const Floats factor0 = exp(hn::Sub(old0, shift0)), factor1 = exp(hn::Sub(old1, shift1));
  Floats sum0 = hn::Zero(d), sum1 = sum0;
  for (std::int64_t key = 0; key < keys; ++key) {
    float* s = scores + key * width;
    const Floats e0 = exp(hn::Sub(hn::Load(d, s), shift0)), e1 = exp(hn::Sub(hn::Load(d, s + n), shift1));
    hn::Store(e0, d, s);
    hn::Store(e1, d, s + n);
    sum0 = hn::Add(sum0, e0);
    sum1 = hn::Add(sum1, e1);
  }
  hn::Store(hn::MulAdd(hn::Load(d, sums), factor0, sum0), d, sums);
  hn::Store(hn::MulAdd(hn::Load(d, sums + n), factor1, sum1), d, sums + n);
  hn::Store(factor0, d, factors);
  hn::Store(factor1, d, factors + n);
}

HWY_INLINE void multiply_elements(float* x, const float* by, std::int64_t n) {
  const F32 d;
  for (std::int64_t i = 0; i < n; i += lanes()) hn::Store(hn::Mul(hn::Load(d, x + i), hn::Load(d, by + i)), d, x + i);
}

// One strip of queries against one tile of keys.
void forward_strip(const AttentionProblem& problem, const Head& head, const Strip& strip, std::int64_t lane,
                   const AttentionForwardMemory& memory) {
  const std::int64_t width = strip_width(), size = problem.head_size;
  const float* keys = memory.keys + strip.first_key * size;
  const float* values = memory.values + strip.first_key * size;
  multiply_tiles<Into::overwrite>({.a = keys,
                                   .a_row = size,
                                   .a_step = 1,
                                   .rows = strip.keys,
                                   .b = memory.queries + lane * size,
                                   .b_step = width,
                                   .length = size,
                                   .c = memory.scores,
                                   .c_row = width});
  mask_future(strip, memory.scores, width);
  softmax_step(memory.scores, strip.keys, memory.maxima + lane, memory.sums + lane, memory.factors);
  if (problem.dropout_p > 0) {
    fill_keep(problem, head, strip, memory.keep);
    multiply_elements(memory.scores, memory.keep, strip.keys * width);
  }
  const TileProduct weighted_values = {.a = values,
                                       .a_row = 1,
                                       .a_step = size,
                                       .rows = size,
                                       .b = memory.scores,
                                       .b_step = width,
                                       .length = strip.keys,
                                       .c = memory.outputs + lane * size,
                                       .c_row = width,
                                       .factors = memory.factors};
  if (strip.first_key == 0) {
    multiply_tiles<Into::overwrite>(weighted_values);
  } else {
    multiply_tiles<Into::rescale>(weighted_values);
  }
}

void forward_tile(const AttentionForwardWork& work, const Head& head, std::int64_t first_query,
                  const AttentionForwardMemory& memory) {
  const AttentionProblem& problem = work.problem;
  const std::int64_t queries = std::min(attention_tile, problem.tokens - first_query), size = problem.head_size;
  transpose_to_strips(problem.qkv + head.qkv_offset + first_query * head.qkv_row, head.qkv_row, queries, size,
                      problem.scale, memory.queries);
  std::fill_n(memory.maxima, attention_tile, -std::numeric_limits<float>::infinity());
  std::fill_n(memory.sums, attention_tile, 0.0f);
  for (std::int64_t first_key = 0; first_key < first_query + queries; first_key += attention_tile)
    for (std::int64_t lane = 0; lane < queries; lane += strip_width())
      forward_strip(problem, head, Strip(first_query + lane, first_key, problem.tokens), lane, memory);

  float* logsumexp = work.logsumexp + head.stats_offset + first_query;
  for (std::int64_t q = 0; q < queries; ++q) {
    logsumexp[q] = memory.maxima[q] + std::log(memory.sums[q]);
    memory.factors[q] = 1.0f / memory.sums[q];
  }
  transpose_from_strips(memory.outputs, memory.factors, queries, size,
                        work.y + head.y_offset + first_query * head.y_row, head.y_row);
}

void forward_pieces(const AttentionForwardWork& work, std::int64_t first, std::int64_t last, float* floats) {
  const AttentionProblem& problem = work.problem;
  Carver carver(floats);
  const AttentionForwardMemory memory(carver, problem);
  const std::int64_t pairs = work.pieces_per_head(), tiles = problem.tiles();
  std::int64_t copied_head = -1, copied_tokens = 0;
  for (std::int64_t piece = first; piece < last; ++piece) {
    const std::int64_t index = piece / pairs, front = piece % pairs, back = tiles - 1 - front;
    const Head head(problem, index);
    // Keys and values side by side: in qkv their rows lie far apart, often at strides that share few sets of the cache.
    if (copied_head != index) copied_head = index, copied_tokens = 0;
    const std::int64_t needed = std::min(problem.tokens, (back + 1) * attention_tile);
    if (needed > copied_tokens) {
      const float* keys = problem.qkv + head.qkv_offset + copied_tokens * head.qkv_row + problem.channels();
      const std::int64_t done = copied_tokens * problem.head_size, rows = needed - copied_tokens;
      copy_rows(keys, head.qkv_row, rows, problem.head_size, memory.keys + done, problem.head_size);
      copy_rows(keys + problem.channels(), head.qkv_row, rows, problem.head_size, memory.values + done,
                problem.head_size);
      copied_tokens = needed;
    }
    forward_tile(work, head, front * attention_tile, memory);
    if (back != front) forward_tile(work, head, back * attention_tile, memory);
  }
}

// ---- backward ----

// From the scores and dP of a strip: the dropped-out probabilities and dS = P * (dP - delta). The strip's columns of
// keys that none of its queries sees become zero.
template <bool dropout>
HWY_INLINE void probabilities_and_dscores(const Strip& strip, std::int64_t tile_keys, std::int64_t lane,
                                          const AttentionBackwardMemory& memory) {
  const F32 d;
  const std::int64_t n = lanes();
  for (std::int64_t side = 0; side < 2; ++side) {
    const std::int64_t column = lane + side * n;
    const Floats logsumexp = hn::Load(d, memory.logsumexp + column), delta = hn::Load(d, memory.deltas + column);
    float* p = memory.probabilities + column;
    float* ds = memory.dscores + column;
    const float* keep = memory.keep + side * n;
    for (std::int64_t key = 0; key < strip.keys; ++key, p += attention_score_row, ds += attention_score_row) {
      const Floats probability = exp(hn::Sub(hn::Load(d, p), logsumexp));
      Floats dropped = probability, dp = hn::Load(d, ds);
      if constexpr (dropout) {
        const Floats factor = hn::Load(d, keep + key * 2 * n);
        dropped = hn::Mul(probability, factor);
        dp = hn::Mul(dp, factor);
      }
      hn::Store(dropped, d, p);
      hn::Store(hn::Mul(probability, hn::Sub(dp, delta)), d, ds);
    }
    for (std::int64_t key = strip.keys; key < tile_keys; ++key, p += attention_score_row, ds += attention_score_row) {
      hn::Store(hn::Zero(d), d, p);
      hn::Store(hn::Zero(d), d, ds);
    }
  }
}

// One strip of queries against one tile of keys: its columns of the probabilities and of dS, and its part of dq.
void backward_strip(const AttentionProblem& problem, const Head& head, const Strip& strip, std::int64_t tile_keys,
                    std::int64_t lane, const AttentionBackwardMemory& memory) {
  const std::int64_t width = strip_width(), size = problem.head_size;
  const float* keys = memory.keys + strip.first_key * size;
  TileProduct product = {.a = keys,
                         .a_row = size,
                         .a_step = 1,
                         .rows = strip.keys,
                         .b = memory.queries_transposed + lane * size,
                         .b_step = width,
                         .length = size,
                         .c = memory.probabilities + lane,
                         .c_row = attention_score_row};
  multiply_tiles<Into::overwrite>(product);
  product.a = memory.values + strip.first_key * size;
  product.b = memory.dys_transposed + lane * size;
  product.c = memory.dscores + lane;
  multiply_tiles<Into::overwrite>(product);

  mask_future(strip, memory.probabilities + lane, attention_score_row);
  if (problem.dropout_p > 0) {
    fill_keep(problem, head, strip, memory.keep);
    probabilities_and_dscores<true>(strip, tile_keys, lane, memory);
  } else {
    probabilities_and_dscores<false>(strip, tile_keys, lane, memory);
  }
  const TileProduct dqueries = {.a = keys,
                                .a_row = 1,
                                .a_step = size,
                                .rows = size,
                                .b = memory.dscores + lane,
                                .b_step = attention_score_row,
                                .length = strip.keys,
                                .c = memory.dqueries_transposed + lane * size,
                                .c_row = width};
  if (strip.first_key == 0) {
    multiply_tiles<Into::overwrite>(dqueries);
  } else {
    multiply_tiles<Into::add>(dqueries);
  }
}

// to [keys][row] += scores * rows: the tile's part of dk or dv.
void add_key_gradient(const float* scores, const float* rows, std::int64_t tile_keys, std::int64_t tile_queries,
                      std::int64_t keys_ahead, std::int64_t head_size, std::int64_t row, float* to) {
  for (std::int64_t column = 0; column < head_size; column += strip_width())
    multiply_tiles<Into::add>({.a = scores,
                               .a_row = attention_score_row,
                               .a_step = 1,
                               .rows = tile_keys,
                               .b = rows + column,
                               .b_step = row,
                               .length = tile_queries,
                               .c = to + column,
                               .c_row = row},
                              // No query before the block's first key sees any of its keys.
                              [&](std::int64_t key) HWY_ATTR { return std::max<std::int64_t>(0, key - keys_ahead); });
}

// sum over d of a[d] * b[d].
HWY_INLINE float dot(const float* a, const float* b, std::int64_t n) {
  Floats sum = hn::Zero(F32());
  over_vectors(
      n, [&](std::int64_t i, auto access) HWY_ATTR { sum = hn::MulAdd(access.load(a + i), access.load(b + i), sum); });
  return sum_of_lanes(sum);
}

// Everything that a tile of queries brings along: transposed for products over the head size, as rows for those over
// queries.
void load_backward_queries(const AttentionBackwardWork& work, const Head& head, std::int64_t first_query,
                           std::int64_t queries, const AttentionBackwardMemory& memory) {
  const AttentionProblem& problem = work.problem;
  const std::int64_t size = problem.head_size;
  const float* q = problem.qkv + head.qkv_offset + first_query * head.qkv_row;
  const float* dy = work.dy + head.y_offset + first_query * head.y_row;
  const float* y = work.y + head.y_offset + first_query * head.y_row;
  transpose_to_strips(q, head.qkv_row, queries, size, problem.scale, memory.queries_transposed);
  transpose_to_strips(dy, head.y_row, queries, size, 1.0f, memory.dys_transposed);
  copy_rows(dy, head.y_row, queries, size, memory.dys, memory.row);
  const Floats scale = hn::Set(F32(), problem.scale);
  for (std::int64_t i = 0; i < queries; ++i) {
    float* to = memory.queries + i * memory.row;
    over_vectors(size, [&](std::int64_t c, auto access)
                           HWY_ATTR { access.store(hn::Mul(access.load(q + i * head.qkv_row + c), scale), to + c); });
    memory.logsumexp[i] = work.logsumexp[head.stats_offset + first_query + i];
    memory.deltas[i] = dot(dy + i * head.y_row, y + i * head.y_row, size);
  }
  std::fill(memory.logsumexp + queries, memory.logsumexp + attention_tile, 0.0f);
  std::fill(memory.deltas + queries, memory.deltas + attention_tile, 0.0f);
}

void backward_tile(const AttentionBackwardWork& work, const Head& head, std::int64_t first_query,
                   const AttentionBackwardMemory& memory) {
  const AttentionProblem& problem = work.problem;
  const std::int64_t queries = std::min(attention_tile, problem.tokens - first_query), size = problem.head_size;
  load_backward_queries(work, head, first_query, queries, memory);
  for (std::int64_t first_key = 0; first_key < first_query + queries; first_key += attention_tile) {
    const std::int64_t keys = std::min(attention_tile, problem.tokens - first_key);
    for (std::int64_t lane = 0; lane < queries; lane += strip_width())
      backward_strip(problem, head, Strip(first_query + lane, first_key, problem.tokens), keys, lane, memory);
    const std::int64_t ahead = first_query - first_key, offset = first_key * memory.row;
    add_key_gradient(memory.dscores, memory.queries, keys, queries, ahead, size, memory.row, memory.dkeys + offset);
    add_key_gradient(memory.probabilities, memory.dys, keys, queries, ahead, size, memory.row, memory.dvalues + offset);
  }
  transpose_from_strips(memory.dqueries_transposed, memory.scales, queries, size,
                        work.dqkv + head.qkv_offset + first_query * head.qkv_row, head.qkv_row);
}

void backward_pieces(const AttentionBackwardWork& work, std::int64_t first, std::int64_t last, float* floats) {
  const AttentionProblem& problem = work.problem;
  Carver carver(floats);
  const AttentionBackwardMemory memory(carver, problem);
  const std::int64_t tokens = problem.tokens, size = problem.head_size, channels = problem.channels();
  std::fill_n(memory.queries, attention_tile * memory.row, 0.0f);  // the padding stays zero
  std::fill_n(memory.dys, attention_tile * memory.row, 0.0f);
  std::fill_n(memory.scales, attention_tile, problem.scale);
  for (std::int64_t index = first; index < last; ++index) {
    const Head head(problem, index);
    const float* keys = problem.qkv + head.qkv_offset + channels;
    copy_rows(keys, head.qkv_row, tokens, size, memory.keys, size);
    copy_rows(keys + channels, head.qkv_row, tokens, size, memory.values, size);
    std::fill_n(memory.dkeys, tokens * memory.row, 0.0f);
    std::fill_n(memory.dvalues, tokens * memory.row, 0.0f);
    for (std::int64_t query = 0; query < tokens; query += attention_tile) backward_tile(work, head, query, memory);
    float* dkeys = work.dqkv + head.qkv_offset + channels;
    copy_rows(memory.dkeys, memory.row, tokens, size, dkeys, head.qkv_row);
    copy_rows(memory.dvalues, memory.row, tokens, size, dkeys + channels, head.qkv_row);
  }
}

}  // namespace
}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
HWY_EXPORT(forward_pieces);
HWY_EXPORT(backward_pieces);

namespace {

template <class Arguments>
AttentionProblem problem_of(std::string_view name, const Arguments& op) {
  require_f32(name, {{"qkv", op.qkv}});
  const Shape& shape = op.qkv.shape();
  return {.qkv = op.qkv.template data<float>(),
          .batch = shape[0],
          .tokens = shape[1],
          .heads = op.heads,
          .head_size = shape[2] / 3 / op.heads,
          .scale = op.scale,
          .dropout_p = op.dropout_p,
          .key = op.key,
          .site = op.site};
}

// run(work, first, last, memory) over all pieces, with memory of its own for every thread.
template <class Memory, class Work, class Run>
void run_pieces(const Work& work, Device device, Run&& run) {
  const std::int64_t pieces = work.pieces();
  if (pieces == 0 || work.problem.head_size == 0) return;
  Carver counter;
  const Memory counted(counter, work.problem);
  const std::int64_t floats = counter.taken();
  const Tensor memory = Tensor::empty({slot_count(pieces, 1), floats}, DType::f32, device, Category::workspace);
  parallel_slots(pieces, 1, [&](std::int64_t slot, std::int64_t first, std::int64_t last) {
    run(work, first, last, memory.data<float>() + slot * floats);
  });
}

}  // namespace

void attention_forward(const AttentionForward& op) {
  const AttentionForwardWork work = {
      .problem = problem_of("attention_forward", op), .y = op.y.data<float>(), .logsumexp = op.logsumexp.data<float>()};
  run_pieces<AttentionForwardMemory>(work, op.qkv.device(), HWY_DYNAMIC_DISPATCH(forward_pieces));
}

void attention_backward(const AttentionBackward& op) {
  const AttentionBackwardWork work = {.problem = problem_of("attention_backward", op),
                                      .dy = op.dy.data<float>(),
                                      .y = op.y.data<float>(),
                                      .logsumexp = op.logsumexp.data<float>(),
                                      .dqkv = op.dqkv.data<float>()};
  run_pieces<AttentionBackwardMemory>(work, op.qkv.device(), HWY_DYNAMIC_DISPATCH(backward_pieces));
}

}  // namespace accrue::kernels::cpu
#endif
