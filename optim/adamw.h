// Adam with decoupled weight decay.
#pragma once

#include "optim/optimizer.h"

namespace accrue::optim {

// The names and defaults of torch.optim.AdamW.
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // of the parameters that decay: those with two or more axes
};

// AdamW (Kingma & Ba, arXiv:1412.6980; Loshchilov & Hutter, arXiv:1711.05101); kernels/adamw.h has the formula.
class AdamW : public Optimizer {
 public:
  // Throws Error(usage) unless 0 <= beta < 1, eps > 0 and weight_decay >= 0, all finite.
  explicit AdamW(const ParameterStore& store, const AdamWOptions& options = {});

  void step(const Tensor& state) override;
  std::vector<NamedTensor> state_tensors() const override { return {{"m", m_}, {"v", v_}}; }
  std::string name() const override { return "adamw"; }

 private:
  const ParameterStore& store_;
  AdamWOptions options_;
  Tensor m_, v_;
};

// AdamW without weight decay.
class Adam final : public AdamW {
 public:
  explicit Adam(const ParameterStore& store, AdamWOptions options = {.weight_decay = 0});
  std::string name() const override { return "adam"; }
};

}  // namespace accrue::optim
