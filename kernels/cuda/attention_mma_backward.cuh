// Attention's backward on tensor cores: one kernel for the gradients of keys and values, whose blocks own keys and pass
// over the queries, and one for those of the queries, whose blocks own queries and pass over the keys. Scores are made
// twice that way, but every gradient has one owner, who sums it in a fixed order.
#pragma once

#include <cstddef>

#include "kernels/cuda/attention_mma_tiles.cuh"

namespace accrue::kernels::cuda {

// Shared memory of a block: two tiles of its own 64 rows, and two tiles of the `columns` rows that it meets in each
// step, with the queries' numbers. It fits the 64 KiB of sm_75.
template <int features>
struct MmaBackwardTiles {
  static constexpr int columns = features <= 64 ? 64 : 32;
  static constexpr int stages = features <= 96 ? 2 : 1;  // two: the next step's tiles arrive during this one
  static constexpr int own_elements = mma_tile_elements<features>(attention_tile);
  static constexpr int step_elements = mma_tile_elements<features>(columns);
  static constexpr std::size_t bytes =
      (2 * own_elements + stages * 2 * step_elements) * 2 + stages * 2 * columns * sizeof(float);
};

template <class T, int features>
struct MmaBackwardMemory {
  using Sizes = MmaBackwardTiles<features>;
  T* own[2];
  T* steps;
  float* numbers;

  __device__ explicit MmaBackwardMemory(T* memory)
      : own{memory, memory + Sizes::own_elements},
        steps(memory + 2 * Sizes::own_elements),
        numbers(reinterpret_cast<float*>(steps + 2 * Sizes::stages * Sizes::step_elements)) {}
  __device__ T* step(int stage, int which) const { return steps + (2 * stage + which) * Sizes::step_elements; }
  __device__ float* logsumexp(int stage) const { return numbers + 2 * stage * Sizes::columns; }
  __device__ float* delta(int stage) const { return logsumexp(stage) + Sizes::columns; }
};

// work(row, stage) for the rows first, first + step … below end, after what load(row, stage) has started to copy is
// here.
template <int stages, class Load, class Work>
__device__ inline void for_each_step(int first, int end, int step, Load load, Work work) {
  load(first, 0);
  copy_async_commit();
  int stage = 0;
  for (int row = first; row < end; row += step) {
    const int next_stage = (stage + 1) % stages;
    if constexpr (stages == 2) {
      if (row + step < end) load(row + step, next_stage);
      copy_async_commit();
    }
    copy_async_wait<stages - 1>();
    __syncthreads();
    work(row, stage);
    __syncthreads();  // nobody reads this stage any more
    if constexpr (stages == 1) {
      if (row + step < end) load(row + step, next_stage);
      copy_async_commit();
    }
    stage = next_stage;
  }
}

// What turns scores into probabilities and dP into dS.
struct ScoreGradients {
  float score_factor;  // log2(e) * scale: exponentials are powers of two
  float kept_factor;

  template <class T>
  __device__ explicit ScoreGradients(const AttentionTask<T>& task)
      : score_factor(task.scale * log2_of_e), kept_factor(task.dropout.factor()) {}

  // `score` becomes the probability, 0 where it is dropped, but not yet divided by 1 - p; `dprobability` becomes
  // dS = P * (dP - delta).
  __device__ void apply(float& score, float& dprobability, float log2_sum, float delta, bool kept) const {
    const float probability = fast_exp2(fmaf(score, score_factor, -log2_sum));
    dprobability = probability * ((kept ? dprobability * kept_factor : 0) - delta);
    score = kept ? probability : 0;
  }
};

// A block makes 64 rows of dk and dv. Scores are transposed: rows are keys, columns queries.
template <class T, int features>
__global__ void __launch_bounds__(mma_threads) attention_dkeys_dvalues_mma(AttentionTask<T> task) {
  using Sizes = MmaBackwardTiles<features>;
  constexpr int columns = Sizes::columns;
  ACCRUE_DYNAMIC_SHARED(T, shared);
  const MmaBackwardMemory<T, features> memory(shared);
  T *const keys = memory.own[0], *const values = memory.own[1];
  const BlockShare share(task.tokens, task.heads, 1);
  const MmaThread self;
  const int first_key = share.tile * attention_tile;
  const ScoreGradients gradients(task);
  FragmentC dkeys[features / 8] = {}, dvalues[features / 8] = {};

  const auto load = [&](int first_query, int stage) {
    const std::int64_t stats = task.stats_offset(share.at);
    load_mma_tile<features, columns>(task, task.queries(share.at), first_query, memory.step(stage, 0));
    load_mma_tile<features, columns>(task, task.doutputs(share.at), first_query, memory.step(stage, 1));
    load_mma_stats(task, task.logsumexp + stats, first_query, columns, memory.logsumexp(stage));
    load_mma_stats(task, task.delta + stats, first_query, columns, memory.delta(stage));
  };
  const auto add_queries = [&](int first_query, int stage) {
    FragmentC probabilities[columns / 8] = {}, dscores[columns / 8] = {};
    add_row_products<features, columns>(probabilities, keys, memory.step(stage, 0));
    add_row_products<features, columns>(dscores, values, memory.step(stage, 1));
#pragma unroll
    for (int n = 0; n < columns / 8; ++n) {
      unsigned keep = 15;
      if (task.dropout.p > 0)
        keep = keep_of_transposed(task, share.at, first_key + 16 * self.warp, first_query + 8 * n);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = 8 * n + self.column() + i % 2;
        gradients.apply(probabilities[n].v[i], dscores[n].v[i], memory.logsumexp(stage)[column] * log2_of_e,
                        memory.delta(stage)[column], keep >> i & 1);
        const int query = first_query + column;
        // A query that does not exist is a row of zeros, but times an infinite key that is NaN.
        if (first_key + self.row() + i / 2 * 8 > query || query >= task.tokens)
          probabilities[n].v[i] = dscores[n].v[i] = 0;
      }
    }
    FragmentA weights[columns / 16];
    as_weights<T>(probabilities, weights);
    add_weighted_rows<features, columns>(dvalues, weights, memory.step(stage, 1));
    as_weights<T>(dscores, weights);
    add_weighted_rows<features, columns>(dkeys, weights, memory.step(stage, 0));
  };
  load_mma_tile<features, attention_tile>(task, task.keys(share.at), first_key, keys);
  load_mma_tile<features, attention_tile>(task, task.values(share.at), first_key, values);
  for_each_step<Sizes::stages>(first_key, task.tokens, columns, load, add_queries);

  store_mma_rows<features>(task, dkeys, task.scale, task.scale, task.dkeys(share.at), first_key, keys);
  store_mma_rows<features>(task, dvalues, gradients.kept_factor, gradients.kept_factor, task.dvalues(share.at),
                           first_key, values);
}

// A block makes 64 rows of dq.
template <class T, int features>
__global__ void __launch_bounds__(mma_threads) attention_dqueries_mma(AttentionTask<T> task) {
  using Sizes = MmaBackwardTiles<features>;
  constexpr int columns = Sizes::columns;
  ACCRUE_DYNAMIC_SHARED(T, shared);
  const MmaBackwardMemory<T, features> memory(shared);
  T *const queries = memory.own[0], *const doutputs = memory.own[1];
  const BlockShare share(task.tokens, task.heads, 1);
  const MmaThread self;
  const int first_query = share.tile_from_back(task.tokens) * attention_tile;
  const ScoreGradients gradients(task);
  FragmentC dqueries[features / 8] = {};
  float log2_sums[2], deltas[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int query = first_query + self.row() + 8 * r;
    const std::int64_t number = task.stats_offset(share.at) + query;
    log2_sums[r] = query < task.tokens ? task.logsumexp[number] * log2_of_e : 0;
    deltas[r] = query < task.tokens ? task.delta[number] : 0;
  }

  const auto load = [&](int first_key, int stage) {
    load_mma_tile<features, columns>(task, task.keys(share.at), first_key, memory.step(stage, 0));
    load_mma_tile<features, columns>(task, task.values(share.at), first_key, memory.step(stage, 1));
  };
  const auto add_keys = [&](int first_key, int stage) {
    FragmentC probabilities[columns / 8] = {}, dscores[columns / 8] = {};
    add_row_products<features, columns>(probabilities, queries, memory.step(stage, 0));
    add_row_products<features, columns>(dscores, doutputs, memory.step(stage, 1));
#pragma unroll
    for (int n = 0; n < columns / 8; ++n) {
      unsigned keep = 15;
      if (task.dropout.p > 0) keep = keep_of_fragment(task, share.at, first_query + 16 * self.warp, first_key + 8 * n);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        gradients.apply(probabilities[n].v[i], dscores[n].v[i], log2_sums[i / 2], deltas[i / 2], keep >> i & 1);
        if (first_key + 8 * n + self.column() + i % 2 > first_query + self.row() + i / 2 * 8) dscores[n].v[i] = 0;
      }
    }
    FragmentA weights[columns / 16];
    as_weights<T>(dscores, weights);
    add_weighted_rows<features, columns>(dqueries, weights, memory.step(stage, 0));
  };
  load_mma_tile<features, attention_tile>(task, task.queries(share.at), first_query, queries);
  load_mma_tile<features, attention_tile>(task, task.doutputs(share.at), first_query, doutputs);
  for_each_step<Sizes::stages>(0, min(first_query + attention_tile, task.tokens), columns, load, add_keys);

  store_mma_rows<features>(task, dqueries, task.scale, task.scale, task.dqueries(share.at), first_query, queries);
}

}  // namespace accrue::kernels::cuda
