// Attention by fused multiply-adds in f32: the kernels.
#pragma once

#include <cfloat>
#include <cmath>

#include "kernels/cuda/attention_fma_tiles.cuh"

namespace accrue::kernels::cuda {

// The maximum over the 16 threads that share rows.
__device__ inline float row_maximum(float value) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(whole_warp, value, offset));
  return value;
}
__device__ inline float row_sum(float value) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) value += __shfl_xor_sync(whole_warp, value, offset);
  return value;
}

// A block makes `chunk` features of 64 rows of y.
template <class T, int chunk>
__global__ void __launch_bounds__(fma_threads, 2) attention_forward_fma(AttentionTask<T> task, int feature_chunks) {
  alignas(16) __shared__ float slices[fma_slices_floats];
  alignas(16) __shared__ float weights[fma_weights_floats];
  static_assert(fma_slice * chunk <= fma_slices_floats);
  const BlockShare share(task.tokens, task.heads, feature_chunks);
  const FmaThread self;
  const int first_query = share.tile_from_back(task.tokens) * attention_tile;
  const int first_feature = share.feature_chunk * chunk;
  const int keys = min(first_query + attention_tile, task.tokens);
  FmaSums<chunk> outputs = {};
  float maxima[4], sums[4];  // sums: of this thread's columns alone
  for (int i = 0; i < 4; ++i) maxima[i] = -INFINITY, sums[i] = 0;

  for (int first_key = 0; first_key < keys; first_key += attention_tile) {
    FmaScores scores = row_products<T>(task, {task.queries(share.at), first_query, task.scale},
                                       {task.keys(share.at), first_key}, slices);
    unsigned keep = 0xffff;
    if (task.dropout.p > 0) keep = keep_of_scores(task, share.at, first_query, first_key);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float(&row)[4] = scores.v[i];
      float largest = -INFINITY;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (first_key + self.column(j) > first_query + self.row(i)) row[j] = -INFINITY;
        largest = fmaxf(largest, row[j]);
      }
      const float maximum = fmaxf(maxima[i], row_maximum(largest));
      // Where every score so far is -inf, a finite shift gives the zeros that they stand for; -inf would give NaN.
      const float shift = fmaxf(maximum, -FLT_MAX), rescale = expf(maxima[i] - shift);
      maxima[i] = maximum;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        row[j] = expf(row[j] - shift);
        sum += row[j];
        if (!(keep >> (4 * i + j) & 1)) row[j] = 0;
      }
      sums[i] = fmaf(sums[i], rescale, sum);
#pragma unroll
      for (float& output : outputs.v[i]) output *= rescale;
    }
    store_weights(scores, weights);
    add_weighted_rows(task, weights, task.values(share.at), first_key, keys, first_feature, slices, outputs,
                      first_query);
  }

  float factors[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float sum = row_sum(sums[i]);
    factors[i] = task.dropout.factor() / sum;
    const int query = first_query + self.row(i);
    if (share.feature_chunk == 0 && self.x == 0 && query < task.tokens)
      task.logsumexp[task.stats_offset(share.at) + query] = maxima[i] + logf(sum);
  }
  store_sums(task, outputs, factors, task.outputs(share.at), first_query, first_feature);
}

// A block makes `chunk` features of 64 rows of dk and dv. Scores are transposed: rows are keys, columns queries.
template <class T, int chunk>
__global__ void __launch_bounds__(fma_threads, fma_blocks<chunk>)
    attention_dkeys_dvalues_fma(AttentionTask<T> task, int feature_chunks) {
  alignas(16) __shared__ float slices[fma_slices_floats];
  alignas(16) __shared__ float weights[fma_weights_floats];
  const BlockShare share(task.tokens, task.heads, feature_chunks);
  const FmaThread self;
  const int first_key = share.tile * attention_tile, first_feature = share.feature_chunk * chunk;
  const float kept_factor = task.dropout.factor();
  const HeadRows<const T> queries = task.queries(share.at), doutputs = task.doutputs(share.at);
  const std::int64_t stats = task.stats_offset(share.at);
  FmaSums<chunk> dkeys = {}, dvalues = {};

  for (int first_query = first_key; first_query < task.tokens; first_query += attention_tile) {
    FmaScores probabilities =
        row_products<T>(task, {task.keys(share.at), first_key}, {queries, first_query, task.scale}, slices);
    FmaScores dscores = row_products<T>(task, {task.values(share.at), first_key}, {doutputs, first_query}, slices);
    unsigned keep = 0xffff;
    if (task.dropout.p > 0) keep = keep_of_transposed_scores(task, share.at, first_key, first_query);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int query = first_query + self.column(j);
      const float logsumexp = query < task.tokens ? task.logsumexp[stats + query] : 0;
      const float delta = query < task.tokens ? task.delta[stats + query] : 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool kept = keep >> (4 * i + j) & 1, sees = query < task.tokens && first_key + self.row(i) <= query;
        const float probability = sees ? expf(probabilities.v[i][j] - logsumexp) : 0;
        const float dprobability = kept ? dscores.v[i][j] * kept_factor : 0;
        dscores.v[i][j] = sees ? probability * (dprobability - delta) : 0;
        probabilities.v[i][j] = kept ? probability : 0;
      }
    }
    store_weights(probabilities, weights);
    add_weighted_rows(task, weights, doutputs, first_query, task.tokens, first_feature, slices, dvalues, first_key);
    __syncthreads();  // nobody reads the weights any more
    store_weights(dscores, weights);
    add_weighted_rows(task, weights, queries, first_query, task.tokens, first_feature, slices, dkeys, first_key);
  }

  float scales[4], kept_factors[4];
  for (int i = 0; i < 4; ++i) scales[i] = task.scale, kept_factors[i] = kept_factor;
  store_sums(task, dkeys, scales, task.dkeys(share.at), first_key, first_feature);
  store_sums(task, dvalues, kept_factors, task.dvalues(share.at), first_key, first_feature);
}

// A block makes `chunk` features of 64 rows of dq.
template <class T, int chunk>
__global__ void __launch_bounds__(fma_threads, fma_blocks<chunk>)
    attention_dqueries_fma(AttentionTask<T> task, int feature_chunks) {
  alignas(16) __shared__ float slices[fma_slices_floats];
  alignas(16) __shared__ float weights[fma_weights_floats];
  const BlockShare share(task.tokens, task.heads, feature_chunks);
  const FmaThread self;
  const int first_query = share.tile_from_back(task.tokens) * attention_tile;
  const int first_feature = share.feature_chunk * chunk;
  const int keys = min(first_query + attention_tile, task.tokens);
  const float kept_factor = task.dropout.factor();
  float logsumexp[4], delta[4], scales[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int query = first_query + self.row(i);
    const std::int64_t number = task.stats_offset(share.at) + query;
    logsumexp[i] = query < task.tokens ? task.logsumexp[number] : 0;
    delta[i] = query < task.tokens ? task.delta[number] : 0;
    scales[i] = task.scale;
  }
  FmaSums<chunk> dqueries = {};

  for (int first_key = 0; first_key < keys; first_key += attention_tile) {
    const FmaScores scores = row_products<T>(task, {task.queries(share.at), first_query, task.scale},
                                             {task.keys(share.at), first_key}, slices);
    FmaScores dscores =
        row_products<T>(task, {task.doutputs(share.at), first_query}, {task.values(share.at), first_key}, slices);
    unsigned keep = 0xffff;
    if (task.dropout.p > 0) keep = keep_of_scores(task, share.at, first_query, first_key);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float dprobability = keep >> (4 * i + j) & 1 ? dscores.v[i][j] * kept_factor : 0;
        const bool sees = first_key + self.column(j) <= first_query + self.row(i);
        dscores.v[i][j] = sees ? expf(scores.v[i][j] - logsumexp[i]) * (dprobability - delta[i]) : 0;
      }
    store_weights(dscores, weights);
    add_weighted_rows(task, weights, task.keys(share.at), first_key, keys, first_feature, slices, dqueries,
                      first_query);
  }
  store_sums(task, dqueries, scales, task.dqueries(share.at), first_query, first_feature);
}

}  // namespace accrue::kernels::cuda
