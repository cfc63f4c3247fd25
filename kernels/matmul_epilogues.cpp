#include "kernels/matmul_epilogues.h"

#include <atomic>

namespace accrue::kernels {
namespace {

std::atomic<MatmulEpilogues> chosen = MatmulEpilogues::bias;
std::atomic<std::int64_t> fused_products = 0;

}  // namespace

void set_matmul_epilogues(MatmulEpilogues epilogues) { chosen = epilogues; }
MatmulEpilogues matmul_epilogues() { return chosen; }

std::int64_t fused_product_count() { return fused_products; }
void count_fused_product() { ++fused_products; }

}  // namespace accrue::kernels
