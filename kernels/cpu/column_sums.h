// Sums over the rows of a batch (bias and layer-norm gradients): private parts first, then one addition to the
// destination.
#pragma once

#include "core/grad_slot.h"
#include "kernels/cpu/parallel.h"

namespace accrue::kernels::cpu {

// The partition of the rows into parts that are summed privately. It depends on the shape alone, so the bits of a sum
// do not depend on the number of threads.
struct RowParts {
  std::int64_t rows = 0;
  std::int64_t rows_per_part = 1;

  // Parts of 16384 elements keep the private sums' traffic below a thirty-second of the batch's for up to 512 columns,
  // and of 32 rows do so for wider ones.
  static RowParts of(std::int64_t rows, std::int64_t cols) {
    return {rows, std::max<std::int64_t>(32, 16384 / std::max<std::int64_t>(cols, 1))};
  }
  std::int64_t count() const { return chunk_count(rows, rows_per_part); }
};

// destination[c] (+)= partial[0, c] + partial[1, c] + …, in this order; partial is f32 [parts, stride].
void add_parts(const GradSlot& destination, const float* partial, std::int64_t parts, std::int64_t stride);

}  // namespace accrue::kernels::cpu
