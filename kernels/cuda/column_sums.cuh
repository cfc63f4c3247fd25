// Sums over the rows of a batch (bias and layer-norm gradients): private parts first, then one addition to the
// destination.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "core/grad_slot.h"

namespace accrue::kernels::cuda {

// The partition of the rows into parts that are summed privately. It depends on the number of rows alone, so the bits
// of a sum are the same on every GPU.
struct RowParts {
  std::int64_t rows = 0;
  std::int64_t rows_per_part = 1;

  // 64 rows keep the traffic of the private sums (f32, written and read) at a sixteenth of a half batch's, and 256
  // parts of even a narrow batch occupy every multiprocessor.
  static RowParts of(std::int64_t rows) { return {rows, std::max<std::int64_t>(64, (rows + 255) / 256)}; }
  std::int64_t count() const { return (rows + rows_per_part - 1) / rows_per_part; }
};

// destination[c] (+)= sum over rows of x[row, c], where x is f32, f16 or bf16 [rows, cols], summed in f32 in an order
// that depends on the shape alone. No rows: the sum is 0. `name` is that of the operation, for messages.
void column_sums(std::string_view name, const GradSlot& destination, const Tensor& x);

// destination[c] (+)= partial[0, c] + partial[1, c] + …, where partial is f32 [parts, cols]; the second stage of sums
// whose parts another kernel has made.
void add_parts(std::string_view name, const GradSlot& destination, const Tensor& partial);

}  // namespace accrue::kernels::cuda
