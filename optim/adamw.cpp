#include "optim/adamw.h"

#include "kernels/adamw.h"
#include "optim/flat.h"

namespace accrue::optim {

AdamW::AdamW(ParameterStore& parameters, const AdamWOptions& options)
    : parameters_(parameters), options_(options), m_(flat_zeros(parameters)), v_(flat_zeros(parameters)) {
  for (const double beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) fail(ErrorKind::usage, "AdamW: beta1 and beta2 must be in [0, 1), but one is {}", beta);
  }
  if (!(options.eps > 0)) fail(ErrorKind::usage, "AdamW: eps must be positive, but is {}", options.eps);
  require_weight_decay("AdamW", options.weight_decay);
}

void AdamW::step(const Tensor& state) {
  for (const ParameterGroup& group : parameters_.groups()) {
    kernels::adamw({.master = run_of(parameters_.master(), group),
                    .m = run_of(m_, group),
                    .v = run_of(v_, group),
                    .compute = compute_run_of(parameters_, group),
                    .gradient = run_of(parameters_.gradients(), group),
                    .state = state,
                    .beta1 = options_.beta1,
                    .beta2 = options_.beta2,
                    .eps = options_.eps,
                    .weight_decay = group.decay ? options_.weight_decay : 0});
  }
}

}  // namespace accrue::optim
