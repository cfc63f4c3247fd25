// The loss of a language model or classifier.
#pragma once

#include <cstdint>

#include "core/tape.h"
#include "kernels/loss_terms.h"
#include "nn/functional.h"

namespace accrue::nn {

// The summed loss of a micro-batch and its count of targets, on the device. It is a sum over samples, which is what
// makes accumulating it over micro-batches equal to one large batch.
struct Loss {
  Tensor terms;  // kernels::LossTerms

  // Copies to the host, which synchronises.
  kernels::LossTerms read() const { return kernels::read_loss_terms(terms); }
};

// Softmax cross-entropy of logits [..., V] against targets i32 (one a row), rows with target `ignore_index` left out.
// On a recording tape the logits are replaced by their own gradient on the spot: do not read them afterwards. If their
// bytes have another handle (the operation that made them has saved them, or the caller keeps a copy or a view), they
// stay as they are and the gradient takes memory of its own. Throws Error(internal) for shapes or dtypes that do not
// fit, Error(bad_data) for a target outside [0, V) and Error(memory).
Loss cross_entropy(Tape& tape, const Tensor& logits, const Tensor& targets, std::int32_t ignore_index = -1);

// The cross-entropy of logits = linear(hidden, weight, bias), of which no more than `rows_per_chunk` rows exist at a
// time: a language model's logits are its largest tensor. Where that is all rows, it is cross_entropy(linear(…));
// otherwise the backward computes each chunk of the logits again (docs/decisions/0004-chunked-loss.md). Errors are
// those of linear() and cross_entropy(); a chunk must have at least one row.
struct LinearCrossEntropy {
  Tensor hidden;  // [..., in]
  Parameter weight;
  Parameter bias;  // may be undefined
  WeightLayout layout = WeightLayout::in_out;
  Tensor targets;                   // i32, one a row
  std::int64_t rows_per_chunk = 0;  // 0: as many as have chunk_logits logits
  std::int32_t ignore_index = -1;

  // 256 MiB in f32. Every chunk reads and writes the whole gradient of the weight: with less than about a thousand rows
  // a chunk, that would cost a GPU more than the product itself.
  static constexpr std::int64_t chunk_logits = std::int64_t{1} << 26;
};
Loss linear_cross_entropy(Tape& tape, const LinearCrossEntropy& op);

}  // namespace accrue::nn
