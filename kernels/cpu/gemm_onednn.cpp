#ifdef ACCRUE_GEMM_ONEDNN

#include <dnnl.h>

#include "core/check.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/single_thread.h"

namespace accrue::kernels::cpu {

// dnnl_sgemm and not a matmul primitive: for f32 the primitive runs the same code, and needs a cache of descriptors
// around it (docs/decisions/0001-cpu-gemm.md has the figures).
void gemm(const Gemm& op) {
  const SingleThread alone;
  const dnnl_status_t status =
      dnnl_sgemm(op.transpose_a ? 'T' : 'N', op.transpose_b ? 'T' : 'N', op.m, op.n, op.k, 1.0f, op.a, op.a_stride,
                 op.b, op.b_stride, op.add_to_c ? 1.0f : 0.0f, op.c, op.c_stride);
  if (status == dnnl_success) return;
  fail(status == dnnl_out_of_memory ? ErrorKind::memory : ErrorKind::internal,
       "matmul: oneDNN failed with status {} on [{}, {}] x [{}, {}]", static_cast<int>(status), op.m, op.k, op.k, op.n);
}

// oneDNN's kernels for AVX-512 do, those for AVX2 do not (docs/decisions/0001-cpu-gemm.md).
bool gemm_packs_transposed_a() {
  static const bool avx512 = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
  return avx512;
}

}  // namespace accrue::kernels::cpu

#endif
