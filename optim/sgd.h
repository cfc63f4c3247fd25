// Stochastic gradient descent with momentum.
#pragma once

#include "optim/optimizer.h"

namespace accrue::optim {

// The names and defaults of torch.optim.SGD.
struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;  // added to the gradient, of the parameters that decay
};

// SGD (Sutskever et al., ICML 2013); kernels/sgd.h has the formula. Without momentum it has no state.
class Sgd final : public Optimizer {
 public:
  // Throws Error(usage) unless 0 <= momentum < 1, weight_decay >= 0, and nesterov only with a momentum.
  explicit Sgd(const ParameterStore& store, const SgdOptions& options = {});

  void step(const Tensor& state) override;
  std::vector<NamedTensor> state_tensors() const override;
  std::string name() const override { return "sgd"; }

 private:
  const ParameterStore& store_;
  SgdOptions options_;
  Tensor buffer_;
};

}  // namespace accrue::optim
