// What the CPU reaches at best in matrix products, measured in this process the first time that somebody asks. Beside
// kernels/machine_peak.h, whose peaks ask for no library.
#pragma once

#include "kernels/matmul_precision.h"

namespace accrue::bench {

// FLOP/s of the largest matrix product of f32 operands that is worth waiting for, in that precision.
double cpu_gemm_peak(kernels::MatmulPrecision precision);

}  // namespace accrue::bench
