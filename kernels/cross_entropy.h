// Softmax cross-entropy, fused with its own backward.
#pragma once

#include <cstdint>

#include "kernels/loss_terms.h"

namespace accrue::kernels {

enum class LossGradient { none, in_place };
// What the gradient is of: the summed loss (contract 1), or the micro-batch's mean loss, sum / count (the tutorials'
// rule).
enum class LossReduction { sum, mean };

// Over the rows with target != ignore_index: terms.sum = sum of (logsumexp(logits[row]) - logits[row, target]),
// terms.count = the number of such rows. With LossGradient::in_place the logits are replaced by the gradient of
// loss_scale * terms.sum: loss_scale * (softmax(logits[row]) - onehot(target)), divided by terms.count with
// LossReduction::mean, and exact zeros in ignored rows, whatever their logits. logits [..., V]; targets i32, one a row;
// terms from empty_loss_terms(); loss_scale f32 [1] on the device, or undefined for 1. A target outside [0, V) that is
// not ignore_index throws Error(bad_data) naming it and its row; the logits are then unchanged. about 6 FLOP/element |
// bytes: rows*V*sizeof(T) read, as much again written for the gradient | memory-bound | deterministic: row losses are
// summed in f64 over a fixed partition, in order
struct CrossEntropy {
  Tensor terms;
  Tensor logits;
  Tensor targets;
  LossGradient gradient = LossGradient::none;
  LossReduction reduction = LossReduction::sum;
  Tensor loss_scale;
  std::int32_t ignore_index = -1;
};

void cross_entropy(const CrossEntropy&);

namespace cpu {
void cross_entropy(const CrossEntropy&);
}
namespace cuda {
void cross_entropy(const CrossEntropy&);
}

}  // namespace accrue::kernels
