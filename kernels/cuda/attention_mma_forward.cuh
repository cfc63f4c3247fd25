// Attention's forward on tensor cores.
#pragma once

#include <cfloat>
#include <cmath>

#include "kernels/cuda/attention_mma_tiles.cuh"

namespace accrue::kernels::cuda {

template <int features>
constexpr int mma_forward_elements = 3 * mma_tile_elements<features>(attention_tile);

// The softmax of two rows of scores, as far as it has come. Everything is in powers of two.
struct RunningSoftmax {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this thread's columns alone
};

// The scores of later keys become -inf, and a negative scale is taken into them: the largest is then that of the
// largest power.
template <class T, int columns>
__device__ inline void prepare_scores(const AttentionTask<T>& task, int first_query, int first_key,
                                      FragmentC (&scores)[columns]) {
  const MmaThread self;
  if (task.scale < 0) {
#pragma unroll
    for (int n = 0; n < columns; ++n)
      for (int i = 0; i < 4; ++i) scores[n].v[i] = -scores[n].v[i];
  }
  if (first_key + 8 * columns - 1 <= first_query) return;
#pragma unroll
  for (int n = 0; n < columns; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + 8 * n + self.column() + i % 2, query = first_query + self.row() + i / 2 * 8;
      if (key > query) scores[n].v[i] = -INFINITY;
    }
}

// Scores to 2^(score * factor - maximum); `rescale` receives what earlier sums of the two rows are to be multiplied by.
template <int columns>
__device__ inline void softmax_step(FragmentC (&scores)[columns], float factor, RunningSoftmax& softmax,
                                    float (&rescale)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = -INFINITY;
#pragma unroll
    for (int n = 0; n < columns; ++n) largest = fmaxf(largest, fmaxf(scores[n].v[2 * r], scores[n].v[2 * r + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 2));
    const float maximum = fmaxf(softmax.maximum[r], largest * factor);
    // Where every score so far is -inf, a finite shift gives the zeros that they stand for; -inf would give NaN.
    const float shift = fmaxf(maximum, -FLT_MAX);
    rescale[r] = fast_exp2(softmax.maximum[r] - shift);
    softmax.maximum[r] = maximum;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n].v[i] = fast_exp2(fmaf(scores[n].v[i], factor, -shift));
        sum += scores[n].v[i];
      }
    softmax.sum[r] = fmaf(softmax.sum[r], rescale[r], sum);
  }
}

template <class T, int columns>
__device__ inline void drop_probabilities(const AttentionTask<T>& task, HeadPlace at, int first_query, int first_key,
                                          FragmentC (&probabilities)[columns]) {
  const int warp_query = first_query + 16 * MmaThread().warp;
#pragma unroll
  for (int n = 0; n < columns; ++n) {
    const unsigned keep = keep_of_fragment(task, at, warp_query, first_key + 8 * n);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (!(keep >> i & 1)) probabilities[n].v[i] = 0;
  }
}

template <class T>
__device__ inline void store_logsumexp(const AttentionTask<T>& task, HeadPlace at, int first_query,
                                       const RunningSoftmax& softmax, const float (&sums)[2]) {
  const MmaThread self;
  if (self.lane % 4 != 0) return;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int query = first_query + self.row() + 8 * r;
    if (query < task.tokens)
      task.logsumexp[task.stats_offset(at) + query] = (softmax.maximum[r] + log2f(sums[r])) * ln_of_2;
  }
}

// A block makes 64 rows of y. Keys and values have a tile each: while one is multiplied with, the other is on its way.
template <class T, int features>
__global__ void __launch_bounds__(mma_threads) attention_forward_mma(AttentionTask<T> task) {
  ACCRUE_DYNAMIC_SHARED(T, queries);
  T* const keys = queries + mma_tile_elements<features>(attention_tile);
  T* const values = keys + mma_tile_elements<features>(attention_tile);
  const BlockShare share(task.tokens, task.heads, 1);
  const int first_query = share.tile_from_back(task.tokens) * attention_tile;
  const HeadRows<const T> key_rows = task.keys(share.at), value_rows = task.values(share.at);
  // log2(e): exponentials are powers of two. A scale of 0 makes zeros of the scores, but must leave -inf as it is.
  const float factor = fmaxf(fabsf(task.scale) * log2_of_e, FLT_MIN);

  load_mma_tile<features, attention_tile>(task, task.queries(share.at), first_query, queries);
  load_mma_tile<features, attention_tile>(task, key_rows, 0, keys);
  copy_async_commit();
  FragmentC outputs[features / 8] = {};
  RunningSoftmax softmax;
  for (int first_key = 0; first_key <= first_query; first_key += attention_tile) {
    copy_async_wait<0>();
    __syncthreads();  // the keys are here, and nobody reads the values before any more
    load_mma_tile<features, attention_tile>(task, value_rows, first_key, values);
    copy_async_commit();

    FragmentC scores[attention_tile / 8] = {};
    add_row_products<features, attention_tile>(scores, queries, keys);
    prepare_scores(task, first_query, first_key, scores);
    float rescale[2];
    softmax_step(scores, factor, softmax, rescale);
    if (task.dropout.p > 0) drop_probabilities(task, share.at, first_query, first_key, scores);
#pragma unroll
    for (int n = 0; n < features / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) outputs[n].v[i] *= rescale[i / 2];

    copy_async_wait<0>();
    __syncthreads();  // the values are here, and nobody reads the keys any more
    if (first_key < first_query)
      load_mma_tile<features, attention_tile>(task, key_rows, first_key + attention_tile, keys);
    copy_async_commit();
    FragmentA weights[attention_tile / 16];
    as_weights<T>(scores, weights);
    add_weighted_rows<features, attention_tile>(outputs, weights, values);
  }

  float sums[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sums[r] = softmax.sum[r];
    sums[r] += __shfl_xor_sync(whole_warp, sums[r], 1);
    sums[r] += __shfl_xor_sync(whole_warp, sums[r], 2);
  }
  store_logsumexp(task, share.at, first_query, softmax, sums);
  const float kept = task.dropout.factor();
  store_mma_rows<features>(task, outputs, kept / sums[0], kept / sums[1], task.outputs(share.at), first_query, queries);
}

}  // namespace accrue::kernels::cuda
