#include "nn/mlp.h"

#include <cmath>
#include <string>

namespace accrue::nn {

Mlp::Mlp(const std::vector<std::int64_t>& widths, float dropout) {
  check(widths.size() >= 2, "Mlp: at least an input and an output width are needed, but got {}", widths.size());
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    const bool last = i + 2 == widths.size();
    if (last) {
      linears_.emplace_back(widths[i], widths[i + 1]);
    } else {
      linears_.emplace_back(widths[i], widths[i + 1],
                            Initializer::normal(std::sqrt(2.0f / static_cast<float>(widths[i]))));
      dropouts_.emplace_back(dropout);
    }
  }
}

void Mlp::register_into(Registry registry) {
  for (std::size_t i = 0; i < linears_.size(); ++i) registry.module("layers." + std::to_string(i), linears_[i]);
  for (Dropout& dropout : dropouts_) dropout.register_into(registry);
}

Tensor Mlp::forward(Tape& tape, const Tensor& x) const {
  Tensor y = x;
  for (std::size_t i = 0; i < dropouts_.size(); ++i)
    y = dropouts_[i].forward(tape, relu(tape, linears_[i].forward(tape, y)));
  return linears_.back().forward(tape, y);
}

}  // namespace accrue::nn
