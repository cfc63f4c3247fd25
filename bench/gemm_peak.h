// What the CPU reaches at best in matrix products, measured in this process the first time that somebody asks. Beside
// kernels/machine_peak.h, whose peaks ask for no library.
#pragma once

namespace accrue::bench {

// FLOP/s of the largest f32 matrix product that is worth waiting for, by the library that the kernels call.
double cpu_gemm_peak();

}  // namespace accrue::bench
