// What multiply_in_bf16 does within a thread: operands packed in bf16, and products of what was packed. Only where
// has_bf16_products().
//
// VDPBF16PS multiplies pairs: two neighbours along the sum are packed into one `Pair`, the earlier in its low half. An
// odd length is filled up with a zero, as are the columns that a panel lacks.
#pragma once

#include <cstdint>

namespace accrue::kernels::cpu::bf16_panels {

using Pair = std::uint32_t;

constexpr std::int64_t panel_cols = 32;  // two vectors
constexpr std::int64_t group_rows = 12;  // with two vectors each: 24 sums, and registers left for the operands

constexpr std::int64_t pairs_of(std::int64_t length) { return (length + 1) / 2; }

// A part of a stored f32 matrix; stride: the distance between the starts of its rows.
struct Source {
  const float* data;
  std::int64_t stride, rows, cols;
};

// The columns of op(b), from a source [length, cols <= panel_cols]: panel[l / 2][panel_cols].
void pack_panel(const Source& b, Pair* panel);
// The same from a transposed source, [cols <= panel_cols, length].
void pack_transposed_panel(const Source& b, Pair* panel);

// Rows of op(a), from a source [rows, length]: row r at rows + r * stride. Writes up to 16 pairs behind the last.
void pack_rows(const Source& a, Pair* rows, std::int64_t stride);
// Groups of group_rows rows of op(a) from a transposed source, [length, rows]: pair l of row r of group g at
// groups + g * stride + l * group_rows + r. Writes up to 4 pairs behind the last of each.
void pack_transposed_groups(const Source& a, Pair* groups, std::int64_t stride);

// out[r, c] = sum over pairs l of a[r * a_row + l * a_step] · panel[l][c] + added[r * added_row + c], where `added` is
// null, or is out itself; rows <= group_rows, cols <= panel_cols.
struct Block {
  float* out;
  std::int64_t out_row, rows, cols;
  const Pair* a;
  std::int64_t a_row, a_step;
  const Pair* panel;
  std::int64_t pairs;
  const float* added;
  std::int64_t added_row;
};
void multiply(const Block& block);

// `rounds` of one multiply-add in each of as many sums as multiply() has, nothing loaded; returns the FLOP and leaves
// in `sink` what depends on all of them.
double multiply_add(int rounds, float* sink);

}  // namespace accrue::kernels::cpu::bf16_panels
