// Softmax cross-entropy, fused with its own backward.
#pragma once

#include <cstdint>

#include "core/grad_slot.h"
#include "kernels/loss_terms.h"
#include "kernels/operation_cost.h"

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
// not ignore_index throws Error(bad_data) naming it and its row; the logits are then unchanged. On CUDA the next call
// that waits for the device throws it, and that row alone is unchanged and left out of the terms. about 6 FLOP/element
// | bytes: rows*V*sizeof(T) read, as much again written for the gradient (on CUDA read a second time) | memory-bound |
// deterministic: row losses are summed in f64 over a fixed partition, in order
//
// A micro-batch may come in parts, one call each: with Write::accumulate a call adds to the terms of those before it,
// `mean_over` has the targets of all parts, and first_row is the place of this part's first row.
struct CrossEntropy {
  Tensor terms;
  Tensor logits;
  Tensor targets;
  LossGradient gradient = LossGradient::none;
  LossReduction reduction = LossReduction::sum;
  Tensor loss_scale;
  std::int32_t ignore_index = -1;
  Write terms_write = Write::overwrite;
  Tensor mean_over;            // i32: LossReduction::mean divides by their count; undefined for `targets`
  std::int64_t first_row = 0;  // for messages
};

void cross_entropy(const CrossEntropy&);

OperationCost cost_of(const CrossEntropy&);

// Implementation of the backends: how a target that is no class is told.
struct BadTarget {
  std::int64_t row, target, classes, ignore_index;
};
[[noreturn]] void fail_bad_target(const BadTarget&);

namespace cpu {
void cross_entropy(const CrossEntropy&);
}
namespace cuda {
void cross_entropy(const CrossEntropy&);
}

}  // namespace accrue::kernels
