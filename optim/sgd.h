// Stochastic gradient descent.
#pragma once

#include "optim/optimizer.h"

namespace accrue::optim {

enum class Momentum { classical, nesterov };

struct SgdOptions {
  double momentum = 0;
  Momentum kind = Momentum::classical;
  double weight_decay = 0;  // added to the gradient of tensors with two or more dimensions
};

// SGD with momentum as torch.optim.SGD defines it (dampening 0); the learning rate comes from the schedule.
class Sgd final : public Optimizer {
 public:
  // The store must be allocated and outlive the optimizer. Throws Error(usage) unless 0 <= momentum < 1 and weight_decay >= 0.
  Sgd(ParameterStore& parameters, const SgdOptions& options);
  void step(const Tensor& state) override;
  std::vector<NamedTensor> state_tensors() override;
  std::string name() const override { return "sgd"; }

 private:
  ParameterStore& parameters_;
  SgdOptions options_;
  Tensor buffer_;  // undefined without momentum
};

}  // namespace accrue::optim
