#include "train/evaluate.h"

#include <cmath>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cast.h"

namespace accrue::train {
namespace {

void for_each_batch(const Dataset& data, std::int64_t micro_batch, Device device,
                    const std::function<void(const Batch&)>& visit) {
  check(micro_batch >= 1, "evaluate: the micro-batch must be at least 1, but is {}", micro_batch);
  for (std::int64_t first = 0; first < data.size(); first += micro_batch) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(micro_batch, data.size() - first)));
    std::iota(indices.begin(), indices.end(), first);
    visit(data.batch(indices, device));
  }
}

}  // namespace

Evaluation evaluate(const LossFunction& loss, const Dataset& data, std::int64_t micro_batch, Device device,
                    const Tape::Poll& poll) {
  kernels::LossTerms total;
  for_each_batch(data, micro_batch, device, [&](const Batch& batch) {
    if (poll) poll();
    Tape tape = Tape::inference();
    tape.poll_with(poll);
    const kernels::LossTerms terms = loss(tape, batch).read();
    total.sum += terms.sum;
    total.count += terms.count;
  });
  return {.loss = total.count == 0 ? std::numeric_limits<double>::quiet_NaN()
                                   : total.sum / static_cast<double>(total.count),
          .targets = total.count};
}

double accuracy(const std::function<Tensor(Tape&, const Tensor&)>& logits, const Dataset& data,
                std::int64_t micro_batch, Device device) {
  std::int64_t correct = 0;
  for_each_batch(data, micro_batch, device, [&](const Batch& batch) {
    Tape tape = Tape::inference();
    const Tensor scores = logits(tape, batch.inputs);
    const auto values = kernels::as_dtype(scores, DType::f32).to_vector<float>();
    const auto targets = batch.targets.to_vector<std::int32_t>();
    const auto classes = scores.shape().last();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const auto row = values.begin() + static_cast<std::ptrdiff_t>(i) * classes;
      correct += std::max_element(row, row + classes) - row == targets[i];
    }
  });
  return static_cast<double>(correct) / static_cast<double>(data.size());
}

void require_finite(const Evaluation& evaluation) {
  if (std::isfinite(evaluation.loss)) return;
  fail(ErrorKind::numeric,
       "the loss over {} targets is not finite: these weights are of no use; name an older checkpoint of the run's "
       "checkpoints/",
       evaluation.targets);
}

}  // namespace accrue::train
