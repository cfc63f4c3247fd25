// Matrix products in bf16 on CPUs with AVX512_BF16.
#pragma once

#include "kernels/cpu/product.h"

namespace accrue::kernels::cpu {

// Whether this CPU and this build multiply bf16. Where Highway is kept to lesser instructions (as tests do), it does
// not.
bool has_bf16_products();

// `batch` products whose operands are rounded to bf16 (to nearest, ties to even) and whose sums are in f32; subnormal
// operands and results are zeros. Only where has_bf16_products(). The order of an element's sum is a function of k
// alone: its bits depend neither on the number of threads nor on the other rows and columns.
void multiply_in_bf16(const Product& first, std::int64_t batch);

}  // namespace accrue::kernels::cpu
