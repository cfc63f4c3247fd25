#include "nn/cross_entropy.h"

#include "kernels/cross_entropy.h"
#include "nn/gradients.h"

namespace accrue::nn {

Loss cross_entropy(Tape& tape, const Tensor& logits, const Tensor& targets, std::int32_t ignore_index) {
  using kernels::LossGradient, kernels::LossReduction;
  Loss loss{.terms = kernels::empty_loss_terms(logits.device())};
  // Another handle is a value that somebody still reads, such as a closure that saved it for its backward.
  const Tensor gradient = tape.recording() && logits.shares_storage() ? logits.clone() : logits;
  kernels::cross_entropy({.terms = loss.terms,
                          .logits = gradient,
                          .targets = targets,
                          .gradient = tape.recording() ? LossGradient::in_place : LossGradient::none,
                          .reduction = tape.context().mean_loss ? LossReduction::mean : LossReduction::sum,
                          .loss_scale = tape.context().loss_scale,
                          .ignore_index = ignore_index});
  tape.record("cross_entropy", loss.terms,
              [logits_node = Node(logits), gradient](Tape& t) { t.contribute(logits_node, gradient, add_gradient); });
  return loss;
}

}  // namespace accrue::nn
