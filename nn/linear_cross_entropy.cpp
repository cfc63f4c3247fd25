#include <algorithm>

#include "kernels/cross_entropy.h"
#include "nn/cross_entropy.h"
#include "nn/linear_parts.h"

namespace accrue::nn {
namespace {

using kernels::LossGradient, kernels::LossReduction;

// The chunks of one loss, over one buffer for their logits.
class LossChunks {
 public:
  LossChunks(const LinearCrossEntropy& op, std::int64_t width, const MicroBatchContext& context)
      : op_(op),
        context_(context),
        logits_(Tensor::empty({op.rows_per_chunk, width}, op.hidden.dtype(), op.hidden.device(), Category::workspace)) {
  }

  // f(first row, rows)
  template <class F>
  void each(F&& f) const {
    const std::int64_t rows = op_.hidden.shape().rows();
    for (std::int64_t first = 0; first < rows; first += op_.rows_per_chunk)
      f(first, std::min(op_.rows_per_chunk, rows - first));
  }
  // Rows of a tensor of as many rows as `hidden`.
  static Tensor rows_of(const Tensor& tensor, std::int64_t first, std::int64_t rows) {
    const std::int64_t cols = tensor.shape().last();
    return tensor.view({rows, cols}, first * cols);
  }
  // Adds the chunk's loss to the terms; what it returns is the gradient of the logits, if that is asked for.
  Tensor run(const Tensor& terms, LossGradient gradient, std::int64_t first, std::int64_t rows) const {
    const Tensor logits = rows_of(logits_, 0, rows);
    linear_forward(logits, rows_of(op_.hidden, first, rows), op_.weight, op_.bias, op_.layout);
    kernels::cross_entropy({.terms = terms,
                            .logits = logits,
                            .targets = op_.targets.view({rows}, first),
                            .gradient = gradient,
                            .reduction = context_.mean_loss ? LossReduction::mean : LossReduction::sum,
                            .loss_scale = context_.loss_scale,
                            .ignore_index = op_.ignore_index,
                            .terms_write = first == 0 ? Write::overwrite : Write::accumulate,
                            .mean_over = context_.mean_loss ? op_.targets : Tensor(),
                            .first_row = first});
    return logits;
  }

 private:
  const LinearCrossEntropy& op_;
  const MicroBatchContext& context_;
  Tensor logits_;
};

// Each chunk writes its own rows of the hidden states' gradient, and adds to the parameters' after the first.
void chunks_backward(Tape& tape, const LinearCrossEntropy& op, std::int64_t width) {
  const LossChunks chunks(op, width, tape.context());
  const Tensor known_terms = kernels::empty_loss_terms(op.hidden.device());
  const GradSlot dhidden = tape.grad_slot(op.hidden);
  GradSlot dweight = tape.grad_slot(op.weight);
  GradSlot dbias = optional_slot(tape, op.bias);
  chunks.each([&](std::int64_t first, std::int64_t rows) {
    const Tensor dlogits = chunks.run(known_terms, LossGradient::in_place, first, rows);
    linear_gradients(
        {.dx = dhidden ? GradSlot{LossChunks::rows_of(dhidden.tensor, first, rows), dhidden.write} : GradSlot(),
         .dweight = dweight,
         .dbias = dbias,
         .dy = dlogits,
         .x = LossChunks::rows_of(op.hidden, first, rows),
         .weight = op.weight.value(),
         .layout = op.layout});
    dweight.write = dbias.write = Write::accumulate;
  });
}

}  // namespace

Loss linear_cross_entropy(Tape& tape, const LinearCrossEntropy& op) {
  const std::int64_t width = linear_width(op.hidden, op.weight, op.layout), rows = op.hidden.shape().rows();
  check(op.rows_per_chunk >= 0, "linear_cross_entropy: rows_per_chunk must not be negative, but is {}",
        op.rows_per_chunk);
  LinearCrossEntropy chunked = op;
  if (op.rows_per_chunk == 0)
    chunked.rows_per_chunk =
        std::max<std::int64_t>(1, LinearCrossEntropy::chunk_logits / std::max<std::int64_t>(width, 1));
  if (rows <= chunked.rows_per_chunk)
    return cross_entropy(tape, linear(tape, op.hidden, op.weight, op.bias, op.layout), op.targets, op.ignore_index);
  check(op.targets.numel() == rows,
        "linear_cross_entropy: targets must have {} elements, one for each row of hidden {}, "
        "but has {}",
        rows, op.hidden.shape(), op.targets.shape());
  const Loss loss{.terms = kernels::empty_loss_terms(op.hidden.device())};
  const LossChunks chunks(chunked, width, tape.context());
  chunks.each(
      [&](std::int64_t first, std::int64_t count) { chunks.run(loss.terms, LossGradient::none, first, count); });
  tape.record("linear_cross_entropy", loss.terms, [chunked, width](Tape& t) { chunks_backward(t, chunked, width); });
  return loss;
}

}  // namespace accrue::nn
