// Products of small matrices that lie in the cache, for kernels that work tile by tile. Compiled once per instruction
// set; include after kernels/cpu/simd.h.
#if defined(ACCRUE_KERNELS_CPU_TILE_GEMM_PER_TARGET) == defined(HWY_TARGET_TOGGLE)
#ifdef ACCRUE_KERNELS_CPU_TILE_GEMM_PER_TARGET
#undef ACCRUE_KERNELS_CPU_TILE_GEMM_PER_TARGET
#else
#define ACCRUE_KERNELS_CPU_TILE_GEMM_PER_TARGET
#endif

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// The columns that one product writes: two vectors. With six rows their twelve sums keep two FMA units of latency four
// busy and leave four of AVX2's sixteen registers for the operands.
inline std::int64_t strip_width() { return 2 * lanes(); }

enum class Into {
  overwrite,
  add,
  rescale,  // old values times a factor for each column, then add
};

// c[r, j] = sum over l in [begin(r), length) of a[r * a_row + l * a_step] * b[l * b_step + j], r < rows, j <
// strip_width(). a may be transposed by its strides; b, c and factors are aligned to a vector.
struct TileProduct {
  const float* a;
  std::int64_t a_row, a_step, rows;
  const float* b;
  std::int64_t b_step, length;
  float* c;
  std::int64_t c_row;
  const float* factors = nullptr;  // for Into::rescale
};

template <int rows, Into into>
HWY_INLINE void multiply_rows(const TileProduct& product, std::int64_t first_row, std::int64_t begin) {
  const F32 d;
  const std::int64_t n = lanes(), a_row = product.a_row, a_step = product.a_step, b_step = product.b_step;
  const float* a = product.a + first_row * a_row + begin * a_step;
  const float* b = product.b + begin * b_step;
  Floats left[rows], right[rows];
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) left[r] = right[r] = hn::Zero(d);
  for (std::int64_t l = begin; l < product.length; ++l) {
    const Floats b0 = hn::Load(d, b), b1 = hn::Load(d, b + n);
#pragma GCC unroll 6
    for (int r = 0; r < rows; ++r) {
      const Floats factor = hn::Set(d, a[r * a_row]);
      left[r] = hn::MulAdd(factor, b0, left[r]);
      right[r] = hn::MulAdd(factor, b1, right[r]);
    }
    a += a_step;
    b += b_step;
  }
  float* c = product.c + first_row * product.c_row;
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r, c += product.c_row) {
    if constexpr (into == Into::add) {
      left[r] = hn::Add(hn::Load(d, c), left[r]);
      right[r] = hn::Add(hn::Load(d, c + n), right[r]);
    } else if constexpr (into == Into::rescale) {
      left[r] = hn::MulAdd(hn::Load(d, c), hn::Load(d, product.factors), left[r]);
      right[r] = hn::MulAdd(hn::Load(d, c + n), hn::Load(d, product.factors + n), right[r]);
    }
    hn::Store(left[r], d, c);
    hn::Store(right[r], d, c + n);
  }
}

// Rows in blocks of at most six and of nearly equal size: a last block of one row would leave the FMA units idle.
// begin(r) is where the sum of a block that starts at row r may begin because everything before is zero.
template <Into into, class Begin>
HWY_INLINE void multiply_tiles(const TileProduct& product, Begin&& begin) {
  std::int64_t row = 0;
  for (std::int64_t blocks = (product.rows + 5) / 6; blocks > 0; --blocks) {
    const std::int64_t rows = (product.rows - row + blocks - 1) / blocks;
    switch (rows) {
      case 6:
        multiply_rows<6, into>(product, row, begin(row));
        break;
      case 5:
        multiply_rows<5, into>(product, row, begin(row));
        break;
      case 4:
        multiply_rows<4, into>(product, row, begin(row));
        break;
      case 3:
        multiply_rows<3, into>(product, row, begin(row));
        break;
      case 2:
        multiply_rows<2, into>(product, row, begin(row));
        break;
      default:
        multiply_rows<1, into>(product, row, begin(row));
        break;
    }
    row += rows;
  }
}

template <Into into>
HWY_INLINE void multiply_tiles(const TileProduct& product) {
  multiply_tiles<into>(product, [](std::int64_t) HWY_ATTR { return std::int64_t{0}; });
}

// ---- transposition ----

using F32x4 = hn::FixedTag<float, 4>;

struct FourByFour {
  hn::Vec<F32x4> row[4];
};

HWY_INLINE FourByFour transposed(const FourByFour& m) {
  const F32x4 d;
  const auto a = hn::InterleaveLower(d, m.row[0], m.row[2]), b = hn::InterleaveUpper(d, m.row[0], m.row[2]);
  const auto e = hn::InterleaveLower(d, m.row[1], m.row[3]), f = hn::InterleaveUpper(d, m.row[1], m.row[3]);
  return {{hn::InterleaveLower(d, a, e), hn::InterleaveUpper(d, a, e), hn::InterleaveLower(d, b, f),
           hn::InterleaveUpper(d, b, f)}};
}

// to[c * to_row + r] = from[r * from_row + c] * factor for r < rows, c < columns.
HWY_INLINE void transpose_scaled(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns,
                                 float factor, float* to, std::int64_t to_row) {
  const F32x4 d;
  const auto factors = hn::Set(d, factor);
  const std::int64_t whole_rows = rows & ~std::int64_t{3}, whole_columns = columns & ~std::int64_t{3};
  for (std::int64_t r = 0; r < whole_rows; r += 4)
    for (std::int64_t c = 0; c < whole_columns; c += 4) {
      FourByFour m;
      for (int i = 0; i < 4; ++i) m.row[i] = hn::LoadU(d, from + (r + i) * from_row + c);
      m = transposed(m);
      for (int i = 0; i < 4; ++i) hn::StoreU(hn::Mul(m.row[i], factors), d, to + (c + i) * to_row + r);
    }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_row + r] = from[r * from_row + c] * factor;
}

// to[c * to_row + r] = from[r * from_row + c] * factors[c].
HWY_INLINE void transpose_scaled_columns(const float* from, std::int64_t from_row, std::int64_t rows,
                                         std::int64_t columns, const float* factors, float* to, std::int64_t to_row) {
  const F32x4 d;
  const std::int64_t whole_rows = rows & ~std::int64_t{3}, whole_columns = columns & ~std::int64_t{3};
  for (std::int64_t c = 0; c < whole_columns; c += 4) {
    const auto by = hn::LoadU(d, factors + c);
    for (std::int64_t r = 0; r < whole_rows; r += 4) {
      FourByFour m;
      for (int i = 0; i < 4; ++i) m.row[i] = hn::Mul(hn::LoadU(d, from + (r + i) * from_row + c), by);
      m = transposed(m);
      for (int i = 0; i < 4; ++i) hn::StoreU(m.row[i], d, to + (c + i) * to_row + r);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_row + r] = from[r * from_row + c] * factors[c];
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
