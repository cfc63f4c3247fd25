#include "nn/layers.h"

#include <cmath>
#include <string>

namespace accrue::nn {

Linear::Linear(std::int64_t in, std::int64_t out, Bias bias)
    : in_(in),
      out_(out),
      weight_init_(Initializer::uniform(1.0f / std::sqrt(static_cast<float>(in)))),
      bias_init_(weight_init_),
      has_bias_(bias) {}

Linear::Linear(std::int64_t in, std::int64_t out, Initializer weight, Bias bias)
    : in_(in), out_(out), weight_init_(weight), bias_init_(Initializer::zeros()), has_bias_(bias) {}

void Linear::register_into(Registry registry) {
  weight_ = registry.parameter("weight", {in_, out_}, weight_init_);
  if (has_bias_ == Bias::yes) bias_ = registry.parameter("bias", {out_}, bias_init_);
}

void LayerNorm::register_into(Registry registry) {
  gamma_ = registry.parameter("weight", {width_}, Initializer::ones());
  beta_ = registry.parameter("bias", {width_}, Initializer::zeros());
}

Dropout::Dropout(float p) : p_(p) { check(p >= 0 && p < 1, "Dropout: p must be in [0, 1), but is {}", p); }

void Sequential::register_into(Registry registry) {
  for (std::size_t i = 0; i < modules_.size(); ++i) registry.module(std::to_string(i), *modules_[i]);
}

Tensor Sequential::forward(Tape& tape, const Tensor& x) const {
  Tensor y = x;
  for (const auto& module : modules_) y = module->forward(tape, y);
  return y;
}

}  // namespace accrue::nn
