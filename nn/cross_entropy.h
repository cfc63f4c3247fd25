// The loss of a language model or classifier.
#pragma once

#include <cstdint>

#include "core/tape.h"
#include "kernels/loss_terms.h"

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

}  // namespace accrue::nn
