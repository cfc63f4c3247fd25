#include "optim/sgd.h"

#include "kernels/sgd.h"

namespace accrue::optim {
namespace {

SgdOptions validated(const SgdOptions& options) {
  require_fraction("sgd", "the momentum", options.momentum);
  require_not_negative("sgd", "the weight decay", options.weight_decay);
  if (options.nesterov && options.momentum == 0)
    fail(ErrorKind::usage, "sgd: Nesterov's form needs a momentum, but the momentum is 0");
  return options;
}

}  // namespace

Sgd::Sgd(const ParameterStore& store, const SgdOptions& options) : store_(store), options_(validated(options)) {
  check(store.allocated(), "sgd: the parameters must be allocated before the optimizer is made");
  const Tensor& master = store.master();
  if (options_.momentum != 0) buffer_ = Tensor::zeros(master.shape(), DType::f32, master.device(), Category::optimizer);
}

void Sgd::step(const Tensor& state) {
  const Tensor compute = compute_copy(store_);
  for (const ParameterGroup& group : store_.groups())
    kernels::sgd({.master = slice(store_.master(), group),
                  .buffer = slice(buffer_, group),
                  .compute = slice(compute, group),
                  .gradient = slice(store_.gradients(), group),
                  .state = state,
                  .momentum = options_.momentum,
                  .nesterov = options_.nesterov,
                  .weight_decay = group.decay ? options_.weight_decay : 0});
}

std::vector<NamedTensor> Sgd::state_tensors() const {
  if (!buffer_.defined()) return {};
  return {{"momentum", buffer_}};
}

}  // namespace accrue::optim
