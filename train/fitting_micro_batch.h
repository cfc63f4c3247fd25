// The largest micro-batch that fits into memory, found by running it and not by estimating.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "train/accumulator.h"
#include "train/batch_plan.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/sampler.h"

namespace accrue::train {

// A training as the search runs it: the model with its parameters and optimizer state in place, between micro-batches.
struct FittingSearch {
  const Accumulator& accumulator;
  LossFunction loss;
  const Dataset& data;
  const Dataset* validation;  // may be null
  Device device;
  BatchPlan batch;
  bool ragged = false;
  PartialWindow partial = PartialWindow::step;
};

// The largest micro-batch of at most batch.micro samples that fits and gives the window of `batch` (contract 7): a
// divisor of what a device has of it, or any size where the split may be ragged. nullopt if not even one sample fits.
//
// Each size that is tried runs forward and backward, more than once as later ones find another state of the allocator,
// and evaluates a batch of the validation data: on the data set's first samples, as what a batch needs depends on its
// size alone. Sizes grow from 1, so that nothing is tried that is far beyond what fits. The weights, the optimizer's
// state and the counters keep their bits; gradients of an open window are lost, and are clear at the end: it has to
// start again (Accumulator::drop_window). Errors other than those of memory come through.
std::optional<std::int64_t> largest_fitting_micro_batch(const FittingSearch& search);

// Micro-batches of at most batch.micro samples that give the same window, in ascending order. Not stored: a ragged
// split may have any of 2^40.
class MicroBatchChoices {
 public:
  MicroBatchChoices(const BatchPlan& batch, bool ragged);
  std::int64_t count() const { return ragged_ ? largest_ : static_cast<std::int64_t>(divisors_.size()); }
  std::int64_t operator[](std::int64_t index) const {
    return ragged_ ? index + 1 : divisors_[static_cast<std::size_t>(index)];
  }
  // The last one that fits, if the first ones do and the others do not. Asks of few, the smallest first, and of none
  // beyond twice one that fits, unless it is the next.
  std::optional<std::int64_t> last_that(const std::function<bool(std::int64_t)>& fits) const;

 private:
  std::int64_t count_up_to(std::int64_t samples) const;

  std::int64_t largest_;
  bool ragged_;
  std::vector<std::int64_t> divisors_;
};

}  // namespace accrue::train
