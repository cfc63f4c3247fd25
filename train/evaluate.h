// Loss over a whole data set, in memory that does not depend on its size (contract 27).
#pragma once

#include <cstdint>
#include <functional>

#include "core/tape.h"
#include "nn/cross_entropy.h"
#include "train/dataset.h"

namespace accrue::train {

// The loss of a batch; on a recording tape it can be unwound.
using LossFunction = std::function<nn::Loss(Tape&, const Batch&)>;

struct Evaluation {
  double loss = 0;  // summed loss / targets, both over the whole set
  std::int64_t targets = 0;
};

// Runs over all samples in order, `micro_batch` at a time, without dropout. `poll` is called between operations, and
// what it throws ends the evaluation.
Evaluation evaluate(const LossFunction& loss, const Dataset& data, std::int64_t micro_batch, Device device,
                    const Tape::Poll& poll = {});

// Share of samples whose largest logit is the target; logits(tape, inputs) gives [samples, classes].
double accuracy(const std::function<Tensor(Tape&, const Tensor&)>& logits, const Dataset& data,
                std::int64_t micro_batch, Device device);

// Throws Error(numeric) for a loss that is not finite: the weights are not, or the model overflows.
void require_finite(const Evaluation& evaluation);

}  // namespace accrue::train
