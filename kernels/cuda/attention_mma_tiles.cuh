// Attention on tensor cores: tiles in shared memory, and products of them.
//
// A block is four warps. Each owns 16 of the block's 64 rows (queries, or keys in the backward of keys and values) and
// meets all columns of a tile on its own, so that scores and probabilities never leave its registers: what mma gives as
// fragments C is, rounded and paired, what the next product takes as fragments A.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_task.cuh"
#include "kernels/cuda/cp_async.cuh"
#include "kernels/cuda/mma.cuh"

namespace accrue::kernels::cuda {

constexpr int mma_warps = attention_tile / 16;
constexpr int mma_threads = mma_warps * warp_size;
constexpr float log2_of_e = 1.4426950408889634f;
constexpr float ln_of_2 = 0.6931471805599453f;

// Elements from a row of a tile to the next. With an odd number of 16-byte packs a row, the eight rows that ldmatrix
// reads at once lie in different banks.
template <int features>
constexpr int mma_row = features + 8;
template <int features>
constexpr int mma_tile_elements(int rows) {
  return rows * mma_row<features>;
}

struct MmaThread {
  int lane = static_cast<int>(threadIdx.x) % warp_size;
  int warp = static_cast<int>(threadIdx.x) / warp_size;

  // The first row of element 0 or 1 of a fragment C (of elements 2 and 3 it is 8 further), and the column of element 0.
  __device__ int row() const { return 16 * warp + lane / 4; }
  __device__ int column() const { return lane % 4 * 2; }
};

// Starts copying rows [first_row, first_row + rows) to a tile; rows and features that there are not become zero.
template <int features, int rows, class T>
__device__ inline void load_mma_tile(const AttentionTask<T>& task, const HeadRows<const T>& from, int first_row,
                                     T* tile) {
  constexpr int packs = features / 8;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < rows * packs; i += mma_threads) {
    const int row = i / packs, feature = i % packs * 8, token = first_row + row;
    T* to = tile + row * mma_row<features> + feature;
    const bool exists = token < task.tokens && feature < task.head_size;
    if (task.access == RowAccess::packs) {
      copy_async<16>(to, exists ? from.row(token) + feature : from.first, exists ? Arrives::bytes : Arrives::zeros);
    } else {
      for (int k = 0; k < 8; ++k)
        to[k] = exists && feature + k < task.head_size ? from.row(token)[feature + k] : from_float<T>(0.0f);
    }
  }
}

// Starts copying a number of each of `rows` queries.
template <class T>
__device__ inline void load_mma_stats(const AttentionTask<T>& task, const float* from, int first_row, int rows,
                                      float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < rows; i += mma_threads) {
    const bool exists = first_row + i < task.tokens;
    copy_async<4>(to + i, exists ? from + first_row + i : from, exists ? Arrives::bytes : Arrives::zeros);
  }
}

// c += the warp's 16 rows * columns^T, summed over the features; c[n] is of columns [8n, 8n + 8).
template <int features, int columns, class T>
__device__ inline void add_row_products(FragmentC (&c)[columns / 8], const T* rows, const T* column_tile) {
  const MmaThread self;
  const T* a_row = rows + (16 * self.warp + self.lane % 16) * mma_row<features> + self.lane / 16 * 8;
  const T* b_row = column_tile + (self.lane / 16 * 8 + self.lane % 8) * mma_row<features> + self.lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < features; k += 16) {
    const FragmentA a = ldmatrix_x4(a_row + k);
#pragma unroll
    for (int n = 0; n < columns; n += 16) {
      const FragmentA two = ldmatrix_x4(b_row + n * mma_row<features> + k);
      mma_m16n8k16<T>(c[n / 8], a, {two.words[0], two.words[1]});
      mma_m16n8k16<T>(c[n / 8 + 1], a, {two.words[2], two.words[3]});
    }
  }
}

// sum += weights * tile; sum[n] is of features [8n, 8n + 8), weights[k] of the tile's rows [16k, 16k + 16).
template <int features, int rows, class T>
__device__ inline void add_weighted_rows(FragmentC (&sum)[features / 8], const FragmentA (&weights)[rows / 16],
                                         const T* tile) {
  const MmaThread self;
  const T* b_row = tile + self.lane % 16 * mma_row<features> + self.lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < rows / 16; ++k) {
#pragma unroll
    for (int n = 0; n < features; n += 16) {
      const FragmentA two = ldmatrix_x4_transposed(b_row + 16 * k * mma_row<features> + n);
      mma_m16n8k16<T>(sum[n / 8], weights[k], {two.words[0], two.words[1]});
      mma_m16n8k16<T>(sum[n / 8 + 1], weights[k], {two.words[2], two.words[3]});
    }
  }
}

// Fragments C, rounded, as the left operand of the next product.
template <class T, int columns>
__device__ inline void as_weights(const FragmentC (&c)[columns], FragmentA (&weights)[columns / 2]) {
#pragma unroll
  for (int k = 0; k < columns / 2; ++k) {
    const FragmentC &left = c[2 * k], &right = c[2 * k + 1];
    weights[k] = {pack_pair<T>(left.v[0], left.v[1]), pack_pair<T>(left.v[2], left.v[3]),
                  pack_pair<T>(right.v[0], right.v[1]), pack_pair<T>(right.v[2], right.v[3])};
  }
}

// Writes the warp's 16 rows, multiplied by a factor for the fragment's two rows each. They pass through `staging`, a
// tile of which nobody else uses these rows any more, to leave in whole packs.
template <int features, class T>
__device__ inline void store_mma_rows(const AttentionTask<T>& task, const FragmentC (&c)[features / 8],
                                      float upper_factor, float lower_factor, const HeadRows<T>& to, int first_row,
                                      T* staging) {
  const MmaThread self;
  __syncwarp();
  T* own = staging + self.row() * mma_row<features> + self.column();
#pragma unroll
  for (int n = 0; n < features / 8; ++n) {
    const float(&v)[4] = c[n].v;
    *reinterpret_cast<std::uint32_t*>(own + 8 * n) = pack_pair<T>(v[0] * upper_factor, v[1] * upper_factor);
    *reinterpret_cast<std::uint32_t*>(own + 8 * mma_row<features> + 8 * n) =
        pack_pair<T>(v[2] * lower_factor, v[3] * lower_factor);
  }
  __syncwarp();
  constexpr int packs = features / 8;
  for (int i = self.lane; i < 16 * packs; i += warp_size) {
    const int row = 16 * self.warp + i / packs, feature = i % packs * 8, token = first_row + row;
    if (token >= task.tokens || feature >= task.head_size) continue;
    const T* from = staging + row * mma_row<features> + feature;
    T* target = to.row(token) + feature;
    if (task.access == RowAccess::packs)
      *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(from);
    else
      for (int k = 0; k < 8 && feature + k < task.head_size; ++k) target[k] = from[k];
  }
}

// Bit i: whether element i of a fragment C is kept whose rows are queries and whose columns are keys, both multiples of
// 8. Two neighbouring lanes need the same two groups of four keys, so each draws one of them.
template <class T>
__device__ inline unsigned keep_of_fragment(const AttentionTask<T>& task, HeadPlace at, int first_query,
                                            int first_key) {
  const MmaThread self;
  const int thread = self.lane % 4, mine = thread % 2;
  unsigned bits = keep_bits(task, at, first_query + self.lane / 4 + 8 * mine, first_key / 4 + thread / 2) << 4 * mine;
  bits |= __shfl_xor_sync(whole_warp, bits, 1);
  bits >>= 2 * mine;
  return (bits & 3) | (bits >> 2 & 12);
}

// The same where rows are keys and columns queries. Here the four lanes of four neighbouring rows need the same four
// groups.
template <class T>
__device__ inline unsigned keep_of_transposed(const AttentionTask<T>& task, HeadPlace at, int first_key,
                                              int first_query) {
  const MmaThread self;
  const int group = self.lane / 4, mine = group % 4;
  const int query = first_query + self.column() + mine % 2, key = first_key + group - mine + mine / 2 * 8;
  unsigned bits = keep_bits(task, at, query, key / 4) << 4 * mine;
  bits |= __shfl_xor_sync(whole_warp, bits, 4);
  bits |= __shfl_xor_sync(whole_warp, bits, 8);
  bits >>= mine;
  return (bits & 1) | (bits >> 3 & 2) | (bits >> 6 & 4) | (bits >> 9 & 8);
}

}  // namespace accrue::kernels::cuda
