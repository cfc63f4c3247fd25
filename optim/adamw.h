// AdamW and Adam.
#pragma once

#include "optim/optimizer.h"

namespace accrue::optim {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // of tensors with two or more dimensions
};

// Decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101); the learning rate comes from the schedule.
class AdamW : public Optimizer {
 public:
  // The store must be allocated and outlive the optimizer. Throws Error(usage) unless 0 <= beta < 1, eps > 0, weight_decay >= 0.
  AdamW(ParameterStore& parameters, const AdamWOptions& options);
  void step(const Tensor& state) override;
  std::vector<NamedTensor> state_tensors() override { return {{"m", m_}, {"v", v_}}; }
  std::string name() const override { return "adamw"; }
  const AdamWOptions& options() const { return options_; }

 private:
  ParameterStore& parameters_;
  AdamWOptions options_;
  Tensor m_, v_;
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

// Adam (Kingma & Ba, arXiv:1412.6980): AdamW without decay.
class Adam final : public AdamW {
 public:
  explicit Adam(ParameterStore& parameters, const AdamOptions& options = {})
      : AdamW(parameters, {.beta1 = options.beta1, .beta2 = options.beta2, .eps = options.eps, .weight_decay = 0}) {}
};

}  // namespace accrue::optim
