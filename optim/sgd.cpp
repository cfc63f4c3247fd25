#include "optim/sgd.h"

#include "kernels/sgd.h"
#include "optim/flat.h"

namespace accrue::optim {

Sgd::Sgd(ParameterStore& parameters, const SgdOptions& options) : parameters_(parameters), options_(options) {
  if (!(options.momentum >= 0 && options.momentum < 1))
    fail(ErrorKind::usage, "Sgd: momentum must be in [0, 1), but is {}", options.momentum);
  if (options.kind == Momentum::nesterov && options.momentum == 0)
    fail(ErrorKind::usage, "Sgd: Nesterov's form needs a momentum above 0");
  require_weight_decay("Sgd", options.weight_decay);
  if (options.momentum > 0) buffer_ = flat_zeros(parameters);
}

void Sgd::step(const Tensor& state) {
  for (const ParameterGroup& group : parameters_.groups()) {
    kernels::sgd({.master = run_of(parameters_.master(), group),
                  .buffer = buffer_.defined() ? run_of(buffer_, group) : Tensor(),
                  .compute = compute_run_of(parameters_, group),
                  .gradient = run_of(parameters_.gradients(), group),
                  .state = state,
                  .momentum = options_.momentum,
                  .nesterov = options_.kind == Momentum::nesterov,
                  .weight_decay = group.decay ? options_.weight_decay : 0});
  }
}

std::vector<NamedTensor> Sgd::state_tensors() {
  if (!buffer_.defined()) return {};
  return {{"momentum", buffer_}};
}

}  // namespace accrue::optim
