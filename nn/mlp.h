// A plain multi-layer perceptron.
#pragma once

#include <vector>

#include "nn/layers.h"

namespace accrue::nn {

// Linear, ReLU, …, Linear over the given widths, e.g. {784, 512, 512, 10}; dropout after every hidden activation.
// Weights start normal with deviation sqrt(2 / in) (He et al., arXiv:1502.01852), the last layer as torch.nn.Linear's.
class Mlp final : public Module {
 public:
  explicit Mlp(const std::vector<std::int64_t>& widths, float dropout = 0);
  void register_into(Registry registry) override;
  Tensor forward(Tape& tape, const Tensor& x) const override;

 private:
  std::vector<Linear> linears_;
  std::vector<Dropout> dropouts_;
};

}  // namespace accrue::nn
