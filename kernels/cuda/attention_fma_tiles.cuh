// Attention by fused multiply-adds in f32, for f32 and for what tensor cores cannot take: products of tiles.
//
// A block is 16 x 16 threads and owns 64 rows (queries or keys), against 64 columns at a time; thread (y, x) makes the
// scores of rows 4y … 4y + 3 and columns x, x + 16, x + 32, x + 48. Operands stream through shared memory in slices, so
// that heads of any size fit; of the results a block makes `chunk` features, and wider heads are several blocks' work,
// each of which makes the scores anew.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_task.cuh"
#include "kernels/cuda/pack.cuh"

namespace accrue::kernels::cuda {

constexpr int fma_threads = 256;
constexpr int fma_slice = 32;                        // features of a slice of operands, rows of a slice of summands
constexpr int fma_slice_row = fma_slice + 4;         // rows that a warp reads together lie in different banks
constexpr int fma_weights_row = attention_tile + 4;  // the same
constexpr int fma_slices_floats = 2 * attention_tile * fma_slice_row;
constexpr int fma_weights_floats = attention_tile * fma_weights_row;

struct FmaThread {
  int x = static_cast<int>(threadIdx.x) % 16;
  int y = static_cast<int>(threadIdx.x) / 16;

  __device__ int row(int i) const { return 4 * y + i; }
  __device__ int column(int j) const { return x + 16 * j; }
};

// Blocks that share a multiprocessor: registers for two, where the sums leave them.
template <int chunk>
constexpr int fma_blocks = chunk <= 64 ? 2 : 1;

// A 64 x 64 tile of scores: this thread's 4 x 4.
struct FmaScores {
  float v[4][4];
};

// `chunk` features of the 64 rows: this thread's rows as above, features in groups of `width` neighbours.
template <int chunk>
struct FmaSums {
  static constexpr int width = chunk >= 64 ? 4 : 2;
  static constexpr int groups = chunk / (16 * width);
  float v[4][groups * width];

  __device__ static int feature(int i) { return i / width * 16 * width + FmaThread().x * width + i % width; }
};

// A row's four features from `feature` on, times `factor`; zeros for what there is not.
template <class T>
__device__ inline float4 load_four(const AttentionTask<T>& task, const HeadRows<const T>& from, int token, int feature,
                                   float factor) {
  Floats<4> x = {};
  if (token < task.tokens) {
    const T* row = from.row(token) + feature;
    if (task.access == RowAccess::packs && feature + 4 <= task.head_size) {
      x = load<4>(row);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (feature + i < task.head_size) x.v[i] = to_float(row[i]);
    }
  }
  return {x.v[0] * factor, x.v[1] * factor, x.v[2] * factor, x.v[3] * factor};
}

// Features [first_feature, + 32) of 64 rows.
template <class T>
__device__ inline void load_operand_slice(const AttentionTask<T>& task, const HeadRows<const T>& from, int first_row,
                                          int first_feature, float factor, float* slice) {
  constexpr int packs = fma_slice / 4;
  for (int i = static_cast<int>(threadIdx.x); i < attention_tile * packs; i += fma_threads) {
    const int row = i / packs, feature = i % packs * 4;
    *reinterpret_cast<float4*>(slice + row * fma_slice_row + feature) =
        load_four(task, from, first_row + row, first_feature + feature, factor);
  }
}

// A factor of one of two operands' rows.
template <class T>
struct FmaOperand {
  HeadRows<const T> rows;
  int first_row;
  float factor = 1;
};

__device__ inline void add_four_products(float& sum, const float4& a, const float4& b) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  sum = fmaf(a.w, b.w, sum);
}

// Rows times columns^T, summed over the features. Begins with a barrier.
template <class T>
__device__ inline FmaScores row_products(const AttentionTask<T>& task, const FmaOperand<T>& rows,
                                         const FmaOperand<T>& columns, float* slices) {
  const FmaThread self;
  float *const row_slice = slices, *const column_slice = slices + attention_tile * fma_slice_row;
  const bool has_rows = rows.first_row + self.row(0) < task.tokens;
  FmaScores scores = {};
  for (int first = 0; first < task.head_size; first += fma_slice) {
    __syncthreads();  // nobody reads the slices any more
    load_operand_slice(task, rows.rows, rows.first_row, first, rows.factor, row_slice);
    load_operand_slice(task, columns.rows, columns.first_row, first, columns.factor, column_slice);
    __syncthreads();
    if (!has_rows) continue;
    const int features = min(fma_slice, task.head_size - first);
#pragma unroll 1  // more at once costs registers, and with them a second block on the multiprocessor
    for (int k = 0; k < features; k += 4) {
      float4 a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = *reinterpret_cast<const float4*>(row_slice + self.row(i) * fma_slice_row + k);
        b[i] = *reinterpret_cast<const float4*>(column_slice + self.column(i) * fma_slice_row + k);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) add_four_products(scores.v[i][j], a[i], b[j]);
    }
  }
  return scores;
}

__device__ inline void store_weights(const FmaScores& scores, float* weights) {
  const FmaThread self;
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) weights[self.row(i) * fma_weights_row + self.column(j)] = scores.v[i][j];
}

// sums += weights * rows [first_row, last_row) of `from`, at most 64; features from first_feature on. The sums are of
// rows first_sum … first_sum + 63. Begins with a barrier, after which the block sees the weights.
template <int chunk, class T>
__device__ inline void add_weighted_rows(const AttentionTask<T>& task, const float* weights,
                                         const HeadRows<const T>& from, int first_row, int last_row, int first_feature,
                                         float* slice, FmaSums<chunk>& sums, int first_sum) {
  using Sums = FmaSums<chunk>;
  const FmaThread self;
  const bool has_rows = first_sum + self.row(0) < task.tokens;
  for (int first = 0; first < attention_tile && first_row + first < last_row; first += fma_slice) {
    __syncthreads();  // nobody reads the slice any more
    constexpr int packs = chunk / 4;
    for (int i = static_cast<int>(threadIdx.x); i < fma_slice * packs; i += fma_threads) {
      const int row = i / packs, feature = i % packs * 4;
      *reinterpret_cast<float4*>(slice + row * chunk + feature) =
          load_four(task, from, first_row + first + row, first_feature + feature, 1);
    }
    __syncthreads();
    if (!has_rows) continue;
    const int summands = min(fma_slice, last_row - first_row - first);
#pragma unroll 4
    for (int k = 0; k < summands; ++k) {
      Floats<Sums::width> row[Sums::groups];
#pragma unroll
      for (int g = 0; g < Sums::groups; ++g)
        row[g] = load<Sums::width>(slice + k * chunk + Sums::feature(g * Sums::width));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float weight = weights[self.row(i) * fma_weights_row + first + k];
#pragma unroll
        for (int f = 0; f < Sums::groups * Sums::width; ++f)
          sums.v[i][f] = fmaf(weight, row[f / Sums::width].v[f % Sums::width], sums.v[i][f]);
      }
    }
  }
}

// Writes row i of the thread's sums times factors[i].
template <int chunk, class T>
__device__ inline void store_sums(const AttentionTask<T>& task, const FmaSums<chunk>& sums, const float (&factors)[4],
                                  const HeadRows<T>& to, int first_row, int first_feature) {
  using Sums = FmaSums<chunk>;
  const FmaThread self;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = first_row + self.row(i);
    if (token >= task.tokens) continue;
#pragma unroll
    for (int g = 0; g < Sums::groups; ++g) {
      const int feature = first_feature + Sums::feature(g * Sums::width);
      Floats<Sums::width> values;
#pragma unroll
      for (int k = 0; k < Sums::width; ++k) values.v[k] = sums.v[i][g * Sums::width + k] * factors[i];
      T* target = to.row(token) + feature;
      if (task.access == RowAccess::packs && feature + Sums::width <= task.head_size) {
        store(target, values);
      } else {
#pragma unroll
        for (int k = 0; k < Sums::width; ++k)
          if (feature + k < task.head_size) target[k] = from_float<T>(values.v[k]);
      }
    }
  }
}

// Bit 4 * i + j: whether the probability of the thread's row i and column j is kept, rows being queries and columns
// keys. Four neighbouring lanes need the same groups of four keys, of four rows, so each draws one row's.
template <class T>
__device__ inline unsigned keep_of_scores(const AttentionTask<T>& task, HeadPlace at, int first_query, int first_key) {
  const FmaThread self;
  const int mine = self.x % 4;
  unsigned result = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    unsigned bits = keep_bits(task, at, first_query + self.row(mine), (first_key + self.column(j)) / 4) << 4 * mine;
    bits |= __shfl_xor_sync(whole_warp, bits, 1);
    bits |= __shfl_xor_sync(whole_warp, bits, 2);
#pragma unroll
    for (int i = 0; i < 4; ++i) result |= (bits >> (4 * i + mine) & 1) << (4 * i + j);
  }
  return result;
}

// The same where rows are keys, so that a thread's four rows are such a group, and columns queries.
template <class T>
__device__ inline unsigned keep_of_transposed_scores(const AttentionTask<T>& task, HeadPlace at, int first_key,
                                                     int first_query) {
  const FmaThread self;
  unsigned result = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const unsigned bits = keep_bits(task, at, first_query + self.column(j), (first_key + self.row(0)) / 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) result |= (bits >> i & 1) << (4 * i + j);
  }
  return result;
}

}  // namespace accrue::kernels::cuda
