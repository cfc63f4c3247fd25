#include "nn/module.h"

#include "kernels/grad_accumulate.h"

namespace accrue::nn {

void initialize(Module& module, ParameterStore& parameters, std::uint64_t seed, Device device, DType compute,
                DType accumulate) {
  module.register_into(Registry(parameters));
  parameters.fold_gradients_with([](const GradSlot& acc, const Tensor& contribution) {
    kernels::grad_accumulate({.acc = acc, .incoming = contribution});
  });
  parameters.allocate(device, seed, compute, accumulate);
}

}  // namespace accrue::nn
