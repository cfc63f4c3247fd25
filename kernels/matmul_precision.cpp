#include "kernels/matmul_precision.h"

#include <atomic>

#include "kernels/cpu/bf16_product.h"

namespace accrue::kernels {
namespace {

std::atomic<MatmulPrecision> chosen = MatmulPrecision::f32;

}  // namespace

void set_matmul_precision(MatmulPrecision precision) { chosen = precision; }
MatmulPrecision matmul_precision() { return chosen; }

bool cpu_multiplies_bf16() { return cpu::has_bf16_products(); }

}  // namespace accrue::kernels
