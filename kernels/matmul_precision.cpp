#include "kernels/matmul_precision.h"

#include <atomic>

namespace accrue::kernels {
namespace {

std::atomic<MatmulPrecision> chosen = MatmulPrecision::f32;

}  // namespace

void set_matmul_precision(MatmulPrecision precision) { chosen = precision; }
MatmulPrecision matmul_precision() { return chosen; }

}  // namespace accrue::kernels
