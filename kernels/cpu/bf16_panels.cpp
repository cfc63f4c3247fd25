#include "kernels/cpu/bf16_panels.h"

#include <algorithm>

#include "core/check.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)  // of gcc 12's own header, whose undefined vectors are meant so
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

// Not by Highway, whose 1.0 does not know these instructions, and not by a compiler flag for the file, which would
// reach the inline functions of the headers, too: the linker may keep that copy of them for every CPU.
#define ACCRUE_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

namespace accrue::kernels::cpu::bf16_panels {
namespace {

constexpr std::int64_t lanes = 16;

// The first `count` lanes; none where count is negative, all where it exceeds them.
ACCRUE_AVX512_BF16 inline __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>((1u << std::clamp<std::int64_t>(count, 0, lanes)) - 1);
}

ACCRUE_AVX512_BF16 inline __m512 load(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }

// Lane i: the pair (low[i], high[i]).
ACCRUE_AVX512_BF16 inline __m512i pairs_from(__m512 low, __m512 high) {
  const __m512i halves = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                          21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(halves, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

// Up to 32 neighbouring values as 16 pairs; zeros behind the last.
ACCRUE_AVX512_BF16 inline __m512i neighbours(const float* from, std::int64_t count) {
  return reinterpret_cast<__m512i>(
      _mm512_cvtne2ps_pbh(load(from + lanes, first_lanes(count - lanes)), load(from, first_lanes(count))));
}

// Rows l and l + 1 of a source with two rows or more, or l and zeros where it is the last: columns from `col` on.
ACCRUE_AVX512_BF16 inline __m512i pairs_at(const Source& source, std::int64_t l, std::int64_t col, __mmask16 mask) {
  const float* row = source.data + l * source.stride + col;
  return pairs_from(load(row, mask), l + 1 < source.rows ? load(row + source.stride, mask) : _mm512_setzero_ps());
}

// Transposes the 16 x 16 pairs of 16 vectors.
ACCRUE_AVX512_BF16 inline void transpose(__m512i* row) {
  __m512i t[lanes];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    row[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    row[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    row[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    row[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  constexpr int even = 0x88, odd = 0xdd;  // quarters 0 and 2, or 1 and 3, of each operand
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(row[i + j], row[i + j + 4], even);
      t[i + j + 4] = _mm512_shuffle_i32x4(row[i + j], row[i + j + 4], odd);
    }
  for (int j = 0; j < 8; ++j) {
    row[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], even);
    row[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], odd);
  }
}

template <int rows>
ACCRUE_AVX512_BF16 void multiply_rows(const Block& block) {
  const std::int64_t a_row = block.a_row, a_step = block.a_step;
  const Pair *a = block.a, *panel = block.panel;
  __m512 left[rows], right[rows];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) left[r] = right[r] = _mm512_setzero_ps();
  for (std::int64_t l = 0; l < block.pairs; ++l) {
    const auto b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel));
    const auto b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + lanes));
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a[r * a_row])));
      left[r] = _mm512_dpbf16_ps(left[r], factor, b0);
      right[r] = _mm512_dpbf16_ps(right[r], factor, b1);
    }
    a += a_step;
    panel += panel_cols;
  }
  const __mmask16 m0 = first_lanes(block.cols), m1 = first_lanes(block.cols - lanes);
  float* out = block.out;
  const float* added = block.added;
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
    if (added != nullptr) {
      left[r] = _mm512_add_ps(left[r], load(added, m0));
      right[r] = _mm512_add_ps(right[r], load(added + lanes, m1));
      added += block.added_row;
    }
    _mm512_mask_storeu_ps(out, m0, left[r]);
    _mm512_mask_storeu_ps(out + lanes, m1, right[r]);
    out += block.out_row;
  }
}

}  // namespace

ACCRUE_AVX512_BF16 void pack_panel(const Source& b, Pair* panel) {
  const __mmask16 m0 = first_lanes(b.cols), m1 = first_lanes(b.cols - lanes);
  for (std::int64_t l = 0; l < b.rows; l += 2, panel += panel_cols) {
    _mm512_storeu_si512(panel, pairs_at(b, l, 0, m0));
    _mm512_storeu_si512(panel + lanes, pairs_at(b, l, lanes, m1));
  }
}

ACCRUE_AVX512_BF16 void pack_transposed_panel(const Source& b, Pair* panel) {
  for (std::int64_t first = 0; first < panel_cols; first += lanes)
    for (std::int64_t l = 0; l < b.cols; l += 2 * lanes) {
      __m512i row[lanes];
      for (std::int64_t i = 0; i < lanes; ++i) {
        const std::int64_t r = first + i;
        row[i] = r < b.rows ? neighbours(b.data + r * b.stride + l, b.cols - l) : _mm512_setzero_si512();
      }
      transpose(row);
      const std::int64_t pairs = std::min(lanes, pairs_of(b.cols - l));
      Pair* to = panel + l / 2 * panel_cols + first;
      for (std::int64_t i = 0; i < pairs; ++i, to += panel_cols) _mm512_storeu_si512(to, row[i]);
    }
}

ACCRUE_AVX512_BF16 void pack_rows(const Source& a, Pair* rows, std::int64_t stride) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const float* from = a.data + r * a.stride;
    Pair* to = rows + r * stride;
    for (std::int64_t l = 0; l < a.cols; l += 2 * lanes)
      _mm512_storeu_si512(to + l / 2, neighbours(from + l, a.cols - l));
  }
}

// A vector has four lanes more than a group has rows. What it writes of them is overwritten by the next pair.
ACCRUE_AVX512_BF16 void pack_transposed_groups(const Source& a, Pair* groups, std::int64_t stride) {
  for (std::int64_t l = 0; l < a.rows; l += 2, groups += group_rows) {
    Pair* to = groups;
    for (std::int64_t first = 0; first < a.cols; first += group_rows, to += stride)
      _mm512_storeu_si512(to, pairs_at(a, l, first, first_lanes(std::min(group_rows, a.cols - first))));
  }
}

void multiply(const Block& block) {
  static constexpr void (*by_rows[])(const Block&) = {
      multiply_rows<1>, multiply_rows<2>, multiply_rows<3>, multiply_rows<4>,  multiply_rows<5>,  multiply_rows<6>,
      multiply_rows<7>, multiply_rows<8>, multiply_rows<9>, multiply_rows<10>, multiply_rows<11>, multiply_rows<12>};
  static_assert(std::size(by_rows) == group_rows);
  by_rows[block.rows - 1](block);
}

ACCRUE_AVX512_BF16 double multiply_add(int rounds, float* sink) {
  constexpr int sums = 2 * group_rows;
  const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));  // 0.5, twice
  __m512 sum[sums];
#pragma GCC unroll 24
  for (int i = 0; i < sums; ++i) sum[i] = _mm512_set1_ps(*sink + static_cast<float>(i));
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < sums; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], factor, factor);
  }
  __m512 all = sum[0];
#pragma GCC unroll 24
  for (int i = 1; i < sums; ++i) all = _mm512_add_ps(all, sum[i]);
  *sink = _mm512_reduce_add_ps(all);
  return 4.0 * lanes * sums * rounds;
}

}  // namespace accrue::kernels::cpu::bf16_panels

#else

namespace accrue::kernels::cpu::bf16_panels {
namespace {

[[noreturn]] void fail_without_instructions() { fail(ErrorKind::internal, "bf16_panels: this CPU has no AVX512_BF16"); }

}  // namespace

void pack_panel(const Source&, Pair*) { fail_without_instructions(); }
void pack_transposed_panel(const Source&, Pair*) { fail_without_instructions(); }
void pack_rows(const Source&, Pair*, std::int64_t) { fail_without_instructions(); }
void pack_transposed_groups(const Source&, Pair*, std::int64_t) { fail_without_instructions(); }
void multiply(const Block&) { fail_without_instructions(); }
double multiply_add(int, float*) { fail_without_instructions(); }

}  // namespace accrue::kernels::cpu::bf16_panels

#endif
