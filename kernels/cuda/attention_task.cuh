// What all of attention's kernels work on: where a head's rows are, which block does what, and the mask of dropout.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/rng.h"
#include "kernels/cuda/ptx.cuh"

namespace accrue::kernels::cuda {

// Queries or keys that belong to a block.
constexpr int attention_tile = 64;

struct AttentionDropout {
  float p = 0;  // 0: none
  RandomKey key;
  std::uint32_t site = 0;

  // What the probabilities that are kept are multiplied by.
  __device__ float factor() const { return 1.0f / (1.0f - p); }
};

// How rows may be read and written: in 16 bytes at a time, or element by element.
enum class RowAccess { packs, elements };

// Matrix [tokens, features] of one head, somewhere in a tensor.
template <class T>
struct HeadRows {
  T* first;
  std::int64_t stride;  // elements from a row to the next

  __device__ T* row(int token) const { return first + token * stride; }
};

struct HeadPlace {
  std::int64_t sample;
  int head;
};

// One call. The forward leaves dy, dqkv and delta null; y and logsumexp are its results and the backward's operands.
template <class T>
struct AttentionTask {
  const T* qkv;
  T* y;
  float* logsumexp;  // [batch, heads, tokens], as delta
  const T* dy;
  T* dqkv;
  float* delta;  // of each query: sum of dy * y
  int tokens, heads, head_size;
  RowAccess access;
  float scale;
  AttentionDropout dropout;

  __device__ std::int64_t channels() const { return std::int64_t{heads} * head_size; }
  __device__ HeadRows<const T> queries(HeadPlace at) const { return part<const T>(qkv, at, 0); }
  __device__ HeadRows<const T> keys(HeadPlace at) const { return part<const T>(qkv, at, 1); }
  __device__ HeadRows<const T> values(HeadPlace at) const { return part<const T>(qkv, at, 2); }
  __device__ HeadRows<T> dqueries(HeadPlace at) const { return part<T>(dqkv, at, 0); }
  __device__ HeadRows<T> dkeys(HeadPlace at) const { return part<T>(dqkv, at, 1); }
  __device__ HeadRows<T> dvalues(HeadPlace at) const { return part<T>(dqkv, at, 2); }
  __device__ HeadRows<T> outputs(HeadPlace at) const { return {y + y_offset(at), channels()}; }
  __device__ HeadRows<const T> doutputs(HeadPlace at) const { return {dy + y_offset(at), channels()}; }
  // Of a query's number in logsumexp and delta.
  __device__ std::int64_t stats_offset(HeadPlace at) const { return (at.sample * heads + at.head) * tokens; }

 private:
  template <class Element>
  __device__ HeadRows<Element> part(Element* base, HeadPlace at, int third) const {
    return {base + at.sample * tokens * 3 * channels() + third * channels() + std::int64_t{at.head} * head_size,
            3 * channels()};
  }
  __device__ std::int64_t y_offset(HeadPlace at) const {
    return at.sample * tokens * channels() + std::int64_t{at.head} * head_size;
  }
};

// A block's share: a tile of 64 queries or keys, and of the results' features one of `feature_chunks`. Neighbouring
// blocks share a head, whose rows then come from the second-level cache.
struct BlockShare {
  HeadPlace at;
  int tile, feature_chunk;

  __device__ BlockShare(int tokens, int heads, int feature_chunks) {
    const unsigned tiles = (static_cast<unsigned>(tokens) + attention_tile - 1) / attention_tile;
    unsigned rest = blockIdx.x;
    feature_chunk = static_cast<int>(rest % static_cast<unsigned>(feature_chunks));
    rest /= static_cast<unsigned>(feature_chunks);
    tile = static_cast<int>(rest % tiles);
    rest /= tiles;
    at.head = static_cast<int>(rest % static_cast<unsigned>(heads));
    at.sample = rest / static_cast<unsigned>(heads);
  }
  // Tiles in the other order: late queries have most keys, and what takes longest should not begin last.
  __device__ int tile_from_back(int tokens) const { return (tokens + attention_tile - 1) / attention_tile - 1 - tile; }
};

// Bit i: whether the probability of (query, 4 * key_quad + i) is kept.
template <class T>
__device__ inline unsigned keep_bits(const AttentionTask<T>& task, HeadPlace at, int query, int key_quad) {
  const AttentionDropout& dropout = task.dropout;
  const auto quads = (static_cast<std::uint32_t>(task.tokens) + 3) / 4;  // in a query's row
  const std::uint32_t row =
      static_cast<std::uint32_t>(at.head) * static_cast<std::uint32_t>(task.tokens) + static_cast<std::uint32_t>(query);
  const Philox4 words = sample_random(dropout.key, dropout.site, static_cast<std::uint32_t>(at.sample),
                                      row * quads + static_cast<std::uint32_t>(key_quad));
  unsigned bits = 0;
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) bits |= (uniform(words[i]) >= dropout.p ? 1u : 0u) << i;
  return bits;
}

}  // namespace accrue::kernels::cuda
