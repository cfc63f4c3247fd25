#include "optim/adamw.h"

#include "kernels/adamw.h"

namespace accrue::optim {
namespace {

AdamWOptions validated(const AdamWOptions& options) {
  require_fraction("adamw", "beta1", options.beta1);
  require_fraction("adamw", "beta2", options.beta2);
  require_positive("adamw", "eps", options.eps);
  require_not_negative("adamw", "the weight decay", options.weight_decay);
  return options;
}

Tensor zeros_like_master(const ParameterStore& store) {
  check(store.allocated(), "adamw: the parameters must be allocated before the optimizer is made");
  const Tensor& master = store.master();
  return Tensor::zeros(master.shape(), DType::f32, master.device(), Category::optimizer);
}

}  // namespace

AdamW::AdamW(const ParameterStore& store, const AdamWOptions& options)
    : store_(store), options_(validated(options)), m_(zeros_like_master(store)), v_(zeros_like_master(store)) {}

void AdamW::step(const Tensor& state) {
  const Tensor compute = compute_copy(store_);
  for (const ParameterGroup& group : store_.groups())
    kernels::adamw({.master = slice(store_.master(), group),
                    .m = slice(m_, group),
                    .v = slice(v_, group),
                    .compute = slice(compute, group),
                    .gradient = slice(store_.gradients(), group),
                    .state = state,
                    .beta1 = options_.beta1,
                    .beta2 = options_.beta2,
                    .eps = options_.eps,
                    .weight_decay = group.decay ? options_.weight_decay : 0});
}

Adam::Adam(const ParameterStore& store, AdamWOptions options) : AdamW(store, options) {
  if (options.weight_decay != 0)
    fail(ErrorKind::usage, "adam: has no weight decay, but {} is asked for; use adamw", options.weight_decay);
}

}  // namespace accrue::optim
