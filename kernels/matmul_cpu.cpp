// The output is cut into tiles by its shape alone, and each tile is one call of the GEMM library on one thread: so the
// bits do not depend on the number of threads. Calls are padded to a multiple of `row_quantum` rows, of which oneDNN's
// kernels (SSE4.1, AVX, AVX2, AVX-512; not all of another BLAS's) give every row the same bits wherever it stands: so
// neither do the bits of a row of out depend on how many rows there are. docs/decisions/0001-cpu-gemm.md has the
// measurements behind the constants.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "kernels/cast.h"
#include "kernels/cpu/bf16_product.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/transpose.h"
#include "kernels/matmul.h"
#include "kernels/matmul_precision.h"

namespace accrue::kernels::cpu {
namespace {

// A multiple of the rows that oneDNN's kernels take at a time (4, 6, 8, 12); what remains has another order of
// summation.
constexpr std::int64_t row_quantum = 24;
constexpr std::int64_t max_tile_cols = 384;
// Longer sums are taken in parts, which bounds the packed copies.
constexpr std::int64_t depth_block = 1024;
// Rows of a packed copy are this much longer than needed, lest they fall into the same cache sets.
constexpr std::int64_t pack_padding = 16;
constexpr std::int64_t cache_set_period = 512;  // floats
constexpr std::int64_t many_cols = 8192;

// How the product is cut up: a function of m, n, k and the transpositions.
struct Plan {
  std::int64_t tile_rows, tile_cols, row_tiles, col_tiles;
  bool pack_a, pack_b;
  std::int64_t a_floats, b_floats, c_floats;  // scratch of one thread

  // Neighbours share the operand that is dearer to fetch: the packed rows of a, else the columns of b.
  std::int64_t sharing() const { return pack_a ? col_tiles : row_tiles; }
  std::int64_t row_of(std::int64_t tile) const { return pack_a ? tile / col_tiles : tile % row_tiles; }
  std::int64_t col_of(std::int64_t tile) const { return pack_a ? tile % col_tiles : tile / row_tiles; }
};

Plan plan_of(const Product& p) {
  Plan plan;
  // An even number of tiles of nearly equal height; taller ones of a weight gradient, whose k is the rows.
  const std::int64_t target = p.transpose_a && p.m >= 384 ? 192 : 96;
  std::int64_t tiles = (p.m + target - 1) / target;
  if (tiles > 1) tiles += tiles % 2;
  plan.tile_rows = round_up((p.m + tiles - 1) / tiles, p.rows_are_samples ? row_quantum : 8);
  plan.row_tiles = chunk_count(p.m, plan.tile_rows);
  // Of nearly equal width, or the thread with the last column of tiles would wait for the others.
  const std::int64_t cols = (p.n + max_tile_cols - 1) / max_tile_cols;
  plan.tile_cols = round_up((p.n + cols - 1) / cols, 16);
  plan.col_tiles = chunk_count(p.n, plan.tile_cols);
  // Where the library walks over a transposed a with its stride, once per block, a transposed copy saves a tenth and
  // more; so it does where each of a's rows is on other pages. Rows of b that lie a multiple of 2 KiB apart evict one
  // another from the first-level cache: up to half of the speed.
  plan.pack_a = p.transpose_a && (!gemm_packs_transposed_a() || p.m > many_cols);
  plan.pack_b = (p.transpose_b ? p.k : p.n) % cache_set_period == 0;
  const std::int64_t depth = std::min(p.k, depth_block);
  const bool pads = p.rows_are_samples && p.m % row_quantum != 0;
  plan.a_floats = plan.pack_a || pads ? plan.tile_rows * (depth + pack_padding) : 0;
  const std::int64_t stored_rows = p.transpose_b ? plan.tile_cols : depth;
  const std::int64_t stored_cols = p.transpose_b ? depth : plan.tile_cols;
  plan.b_floats = plan.pack_b ? stored_rows * (stored_cols + pack_padding) : 0;
  plan.c_floats = pads ? plan.tile_rows * plan.tile_cols : 0;
  return plan;
}

void copy_rows(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t cols, float* to,
               std::int64_t to_stride) {
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(to + r * to_stride, from + r * from_stride, static_cast<std::size_t>(cols) * sizeof(float));
}

// The part of one tile's sum over depths [begin, begin + count).
struct Depths {
  std::int64_t begin, count;
  bool first, last;
};

// Computes tiles on one thread, with packed copies that neighbouring tiles share.
class TileWorker {
 public:
  TileWorker(const Plan& plan, float* scratch)
      : plan_(plan), a_(scratch), b_(a_ + plan.a_floats), c_(b_ + plan.b_floats) {}

  // Tiles [first, last), neighbours that share an operand, which is packed once for each part of the sum.
  void run(const Product& p, std::int64_t first, std::int64_t last) {
    for (std::int64_t begin = 0; begin < p.k; begin += depth_block) {
      const std::int64_t count = std::min(depth_block, p.k - begin);
      const Depths depths{.begin = begin, .count = count, .first = begin == 0, .last = begin + count == p.k};
      for (std::int64_t tile = first; tile < last; ++tile)
        run_depths(p, plan_.row_of(tile) * plan_.tile_rows, plan_.col_of(tile) * plan_.tile_cols, depths);
    }
  }

 private:
  struct Matrix {
    const float* data;
    std::int64_t stride;
    bool transposed;
  };

  void run_depths(const Product& p, std::int64_t row, std::int64_t col, const Depths& depths) {
    const std::int64_t m = std::min(plan_.tile_rows, p.m - row), n = std::min(plan_.tile_cols, p.n - col);
    const std::int64_t padded = p.rows_are_samples ? round_up(m, row_quantum) : m;
    const Matrix a = rows_of_a(p, row, m, padded, depths), b = cols_of_b(p, col, n, depths);
    float* out = p.out + row * p.n + col;
    const bool add = p.accumulate || !depths.first;
    Gemm gemm_op{.c = out,
                 .a = a.data,
                 .b = b.data,
                 .m = padded,
                 .n = n,
                 .k = depths.count,
                 .c_stride = p.n,
                 .a_stride = a.stride,
                 .b_stride = b.stride,
                 .transpose_a = a.transposed,
                 .transpose_b = b.transposed,
                 .add_to_c = add};
    if (padded == m) {
      gemm(gemm_op);
    } else {
      if (add) {
        copy_rows(out, p.n, m, n, c_, n);
        std::fill_n(c_ + m * n, (padded - m) * n, 0.0f);
      }
      gemm_op.c = c_;
      gemm_op.c_stride = n;
      gemm(gemm_op);
      copy_rows(c_, n, m, n, out, p.n);
    }
    if (depths.last && p.bias != nullptr) add_bias(p, out, p.bias + col, m, n);
  }

  Matrix rows_of_a(const Product& p, std::int64_t row, std::int64_t m, std::int64_t padded, const Depths& depths) {
    const std::int64_t stride = depths.count + pack_padding;
    if (!p.transpose_a) {
      const float* rows = p.a + row * p.k + depths.begin;
      if (padded == m) return {rows, p.k, false};
      copy_rows(rows, p.k, m, depths.count, a_, stride);
      std::fill_n(a_ + m * stride, (padded - m) * stride, 0.0f);
      return {a_, stride, false};
    }
    const float* source = p.a + depths.begin * p.m + row;
    if (!plan_.pack_a) return {source, p.m, true};
    if (a_source_ != source) transpose(source, p.m, depths.count, m, a_, stride);
    a_source_ = source;
    return {a_, stride, false};
  }

  Matrix cols_of_b(const Product& p, std::int64_t col, std::int64_t n, const Depths& depths) {
    const std::int64_t source_stride = p.transpose_b ? p.k : p.n;
    const float* source = p.transpose_b ? p.b + col * p.k + depths.begin : p.b + depths.begin * p.n + col;
    if (!plan_.pack_b) return {source, source_stride, p.transpose_b};
    const std::int64_t rows = p.transpose_b ? n : depths.count, cols = p.transpose_b ? depths.count : n;
    const std::int64_t stride = (p.transpose_b ? std::min(p.k, depth_block) : plan_.tile_cols) + pack_padding;
    if (b_source_ != source) copy_rows(source, source_stride, rows, cols, b_, stride);
    b_source_ = source;
    return {b_, stride, p.transpose_b};
  }

  static void add_bias(const Product& p, float* out, const float* bias, std::int64_t m, std::int64_t n) {
    for (std::int64_t r = 0; r < m; ++r)
      for (std::int64_t c = 0; c < n; ++c) out[r * p.n + c] += bias[c];
  }

  const Plan& plan_;
  float *a_, *b_, *c_;
  // What the packed copies hold, so that a neighbouring tile packs only the operand that changed.
  const float *a_source_ = nullptr, *b_source_ = nullptr;
};

void empty_sum(const Product& p) {
  if (p.accumulate) return;
  for (std::int64_t r = 0; r < p.m; ++r)
    for (std::int64_t c = 0; c < p.n; ++c) p.out[r * p.n + c] = p.bias != nullptr ? p.bias[c] : 0.0f;
}

// `batch` products in f32.
void run_batch(const Product& first, std::int64_t batch) {
  const Plan plan = plan_of(first);
  const std::int64_t tiles = plan.row_tiles * plan.col_tiles;
  const std::int64_t scratch_floats = round_up(plan.a_floats + plan.b_floats + plan.c_floats, 16);
  Tensor scratch;
  if (scratch_floats != 0)
    scratch =
        Tensor::empty({slot_count(batch * tiles, 1), scratch_floats}, DType::f32, Device::cpu(), Category::workspace);
  parallel_slots(batch * tiles, 1, [&](std::int64_t slot, std::int64_t begin, std::int64_t end) {
    TileWorker worker(plan, scratch.defined() ? scratch.data<float>() + slot * scratch_floats : nullptr);
    while (begin < end) {
      const std::int64_t tile = begin % tiles;
      const std::int64_t last = std::min(tile + end - begin, (tile / plan.sharing() + 1) * plan.sharing());
      worker.run(first.of_batch(begin / tiles), tile, last);
      begin += last - tile;
    }
  });
}

// The operand in f32: itself, or a widened copy, which is exact.
Tensor widened(const Tensor& x) { return as_dtype(x, DType::f32, Category::workspace); }

// A copy whose values are those of bf16, in f32.
Tensor rounded(const Tensor& x) { return widened(as_dtype(x, DType::bf16, Category::workspace)); }

}  // namespace

void matmul(const Matmul& op) {
  check(op.out.dtype() == DType::f32, "matmul: the CPU backend writes f32, but out is {}", name_of(op.out.dtype()));
  const bool in_bf16 = op.a.dtype() == DType::f32 && matmul_precision() == MatmulPrecision::bf16;
  const bool by_instructions = in_bf16 && has_bf16_products(), rounds_first = in_bf16 && !by_instructions;
  const Tensor a = rounds_first ? rounded(op.a) : widened(op.a), b = rounds_first ? rounded(op.b) : widened(op.b);
  const bool batched = b.shape().rank() == 3;
  const Product first{.out = op.out.data<float>(),
                      .a = a.data<float>(),
                      .b = b.data<float>(),
                      .bias = op.bias.defined() ? op.bias.data<float>() : nullptr,
                      .m = batched ? op.out.shape()[1] : op.out.shape().rows(),
                      .n = op.out.shape().last(),
                      .k = op.transpose_b ? b.shape()[-1] : b.shape()[-2],
                      .transpose_a = op.transpose_a,
                      .transpose_b = op.transpose_b,
                      .accumulate = op.write == Write::accumulate,
                      .rows_are_samples = !batched && !op.transpose_a};
  const std::int64_t batch = batched ? b.shape()[0] : 1;
  if (batch == 0 || first.m == 0 || first.n == 0) return;
  if (first.k == 0) {
    for (std::int64_t i = 0; i < batch; ++i) empty_sum(first.of_batch(i));
  } else if (by_instructions) {
    multiply_in_bf16(first, batch);
  } else {
    run_batch(first, batch);
  }
}

}  // namespace accrue::kernels::cpu
