// Token embedding, with or without a learned position embedding.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/grad_slot.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// y[i, :] = table[ids[i], :] (+ positions[i % T, :] where T = ids.shape().last()).
// ids i32 [..., T], at most 2^31 - 1 of them; table [V, C]; positions [>= T, C] or undefined; y [..., T, C].
// An id outside [0, V) throws Error(bad_data) naming the id and its place. On CUDA the next call that waits for the
// device throws it, and the id's row of y is left as it is; the backward passes over such ids in the same way.
// bytes: ids + 2*n*C*sizeof(T) | memory-bound | deterministic
struct EmbeddingForward {
  Tensor y;
  Tensor ids;
  Tensor table;
  Tensor positions;
};

// dtable[ids[i], :] += dy[i, :], dpositions[i % T, :] += dy[i, :]. An overwriting slot stores zeros to the rows that no
// id names. Both are f32; either may be undefined. 1-2 FLOP/element | bytes: (n*C)*sizeof(T) + read and write of the
// touched rows, of which as many are counted as there may be (all rows written when overwriting) | memory-bound |
// deterministic: each row of a gradient is summed in the order of i; on CUDA a row that very many ids name is summed in
// eight interleaved parts, which are then added in order
struct EmbeddingBackward {
  GradSlot dtable;
  GradSlot dpositions;
  Tensor dy;
  Tensor ids;
};

void embedding_forward(const EmbeddingForward&);
void embedding_backward(const EmbeddingBackward&);

OperationCost cost_of(const EmbeddingForward&);
OperationCost cost_of(const EmbeddingBackward&);

// Implementation of the backends: how an id outside the table is told.
struct BadId {
  Shape shape;         // of ids
  std::int64_t place;  // which of its elements
  std::int64_t id;
  std::int64_t rows;  // of the table
};
[[noreturn]] void fail_bad_id(std::string_view op, const BadId& bad);

namespace cpu {
void embedding_forward(const EmbeddingForward&);
void embedding_backward(const EmbeddingBackward&);
}  // namespace cpu
namespace cuda {
void embedding_forward(const EmbeddingForward&);
void embedding_backward(const EmbeddingBackward&);
}  // namespace cuda

}  // namespace accrue::kernels
