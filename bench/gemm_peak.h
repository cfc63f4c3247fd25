// What the CPU reaches at best in arithmetic, measured in this process the first time that somebody asks.
#pragma once

namespace accrue::bench {

// FLOP/s of fused multiply-adds in f32 on every core, nothing loaded or stored: the best of a tenth of a second,
// because the threads begin asleep and the clock at rest.
double cpu_multiply_add_peak();

// FLOP/s of the largest f32 matrix product that is worth waiting for, by the library that the kernels call.
double cpu_gemm_peak();

}  // namespace accrue::bench
