#include "kernels/cross_entropy.h"

#include "kernels/backend.h"

namespace accrue::kernels {

void fail_bad_target(const BadTarget& bad) {
  fail(ErrorKind::bad_data, "cross_entropy: the target of row {} must be in [0, {}) or {} (ignored), but is {}",
       bad.row, bad.classes, bad.ignore_index, bad.target);
}

void cross_entropy(const CrossEntropy& op) {
  constexpr std::string_view name = "cross_entropy";
  require_defined(name, {{"terms", op.terms}, {"logits", op.logits}, {"targets", op.targets}});
  require_same_device(name, {{"logits", op.logits},
                             {"targets", op.targets},
                             {"terms", op.terms},
                             {"loss_scale", op.loss_scale},
                             {"mean_over", op.mean_over}});
  require_float(name, {"logits", op.logits});
  require_dtype(name, {"targets", op.targets}, DType::i32);
  require_dtype(name, {"terms", op.terms}, DType::u8);
  require_shape(name, {"terms", op.terms}, {sizeof(LossTerms)}, "as empty_loss_terms() makes it");
  const Shape& shape = op.logits.shape();
  check(shape.rank() >= 1, "{}: logits must have shape [..., V], but has {}", name, shape);
  check(op.targets.numel() == shape.rows(),
        "{}: targets must have {} elements, one for each row of logits {}, but has {}", name, shape.rows(), shape,
        op.targets.shape());
  if (op.loss_scale.defined()) {
    require_dtype(name, {"loss_scale", op.loss_scale}, DType::f32);
    require_shape(name, {"loss_scale", op.loss_scale}, {1}, "(one factor)");
  }
  if (op.mean_over.defined()) {
    require_dtype(name, {"mean_over", op.mean_over}, DType::i32);
    check(op.reduction == LossReduction::mean, "{}: mean_over is for LossReduction::mean alone", name);
  }
  run_on(op.logits, op, ACCRUE_BACKENDS(cross_entropy));
}

OperationCost cost_of(const CrossEntropy& op) {
  const bool on_cuda = op.logits.device().kind == DeviceKind::cuda;
  const double passes = op.gradient == LossGradient::none ? 1 : on_cuda ? 3 : 2;
  return {.flop = 6 * count_of(op.logits), .bytes = passes * bytes_of(op.logits)};
}

}  // namespace accrue::kernels
