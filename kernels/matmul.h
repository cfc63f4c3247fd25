// Matrix multiplication.
#pragma once

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// out = op(a) · op(b) + bias, or out += op(a) · op(b) in place (Write::accumulate), where op transposes the last two
// axes.
//
// Two-dimensional when b has rank 2: a and out are seen as matrices [rows(), last()], so leading axes need no
// reshaping. Batched when b has rank 3: a [batch, ·, ·], b [batch, ·, ·], out [batch, m, n]. a and b are f32, f16 or
// bf16, both alike; out has their dtype or is f32 (a weight gradient), and the CPU refuses any other than f32; sums are
// in f32; products of f32 are as kernels/matmul_precision.h says. bias [n] (same dtype as out, may be
// undefined) is added to each row; not together with Write::accumulate.
//
// 2*m*n*k FLOP per matrix | bytes: (m*k + k*n)*sizeof(T) + m*n*sizeof(Out) * (1 or, accumulating, 2) | compute-bound |
// deterministic, with the same bits for any number of threads
//
// On the CPU a thread takes whole tiles of out, which are large so that few threads work at their best: the weight
// gradients of small models (width 128 to 384) have 2 to 8 of them, and more threads than that have nothing to do.
struct Matmul {
  Tensor out;
  Tensor a;
  Tensor b;
  bool transpose_a = false;
  bool transpose_b = false;
  Write write = Write::overwrite;
  Tensor bias;
};

void matmul(const Matmul&);

OperationCost cost_of(const Matmul&);

namespace cpu {
void matmul(const Matmul&);
}
namespace cuda {
void matmul(const Matmul&);
}

}  // namespace accrue::kernels
