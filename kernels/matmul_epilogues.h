// What a GPU computes in the same pass as a matrix product.
#pragma once

#include <cstdint>

namespace accrue::kernels {

// bias: the bias of a product, and nothing else. all: also GELU and its gradient, and the gradient of a bias, in the
// operations of kernels/linear.h, where cuBLASLt has an algorithm for the operands; elsewhere they are operations of
// their own. Which is faster depends on the GPU: bench/linear_bench.cpp measures both. The CPU has no such choice.
enum class MatmulEpilogues { bias, all };

// Of the whole process from now on; bias unless set.
void set_matmul_epilogues(MatmulEpilogues epilogues);
MatmulEpilogues matmul_epilogues();

// Products so far that computed more than their bias: what --epilogues all has come to, for tests and benchmarks.
std::int64_t fused_product_count();
void count_fused_product();

}  // namespace accrue::kernels
