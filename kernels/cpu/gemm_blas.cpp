#ifndef ACCRUE_GEMM_ONEDNN

#include <cblas.h>

#include <climits>

#include "core/check.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/single_thread.h"

namespace accrue::kernels::cpu {
namespace {

int as_int(std::int64_t extent) {
  check(extent <= INT_MAX, "matmul: this build's BLAS takes extents up to {}, but one is {}", INT_MAX, extent);
  return static_cast<int>(extent);
}

}  // namespace

void gemm(const Gemm& op) {
  const SingleThread alone;
  cblas_sgemm(CblasRowMajor, op.transpose_a ? CblasTrans : CblasNoTrans, op.transpose_b ? CblasTrans : CblasNoTrans,
              as_int(op.m), as_int(op.n), as_int(op.k), 1.0f, op.a, as_int(op.a_stride), op.b, as_int(op.b_stride),
              op.add_to_c ? 1.0f : 0.0f, op.c, as_int(op.c_stride));
}

bool gemm_packs_transposed_a() { return false; }

}  // namespace accrue::kernels::cpu

#endif
