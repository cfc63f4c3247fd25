// The library behind matrix multiplication on the CPU, chosen by the build (-DACCRUE_GEMM).
#pragma once

#include <cstdint>

namespace accrue::kernels::cpu {

// c = op(a) · op(b) + (add_to_c ? c : 0): row-major f32 matrices, op(a) [m, k], op(b) [k, n], c [m, n]; a stride is the
// distance between the starts of two stored rows. m, n and k are positive.
struct Gemm {
  float* c;
  const float *a, *b;
  std::int64_t m, n, k;
  std::int64_t c_stride, a_stride, b_stride;
  bool transpose_a = false, transpose_b = false;
  bool add_to_c = false;
};

// On the calling thread alone, whatever the thread count is set to.
void gemm(const Gemm& op);

// Whether a transposed a costs gemm() no more than one that is not. The same for the whole life of the process.
bool gemm_packs_transposed_a();

}  // namespace accrue::kernels::cpu
