// The basic layers, and their sequence.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "nn/functional.h"
#include "nn/module.h"

namespace accrue::nn {

enum class Bias { yes, no };

// y [..., out] = x [..., in] W + b with W [in, out]. Both start uniform in +-1/sqrt(in), as torch.nn.Linear does,
// unless a weight initialiser is given; the bias is then zero.
class Linear final : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, Bias bias = Bias::yes);
  Linear(std::int64_t in, std::int64_t out, Initializer weight, Bias bias = Bias::yes);
  void register_into(Registry registry) override;
  // x may be in another dtype than the weights, as f32 data before a model in bf16: it is converted.
  Tensor forward(Tape& tape, const Tensor& x) const override {
    return linear(tape, cast(tape, x, weight_.value().dtype()), weight_, bias_);
  }
  const Parameter& weight() const { return weight_; }
  const Parameter& bias() const { return bias_; }  // undefined without one

 private:
  std::int64_t in_, out_;
  Initializer weight_init_, bias_init_;
  Bias has_bias_;
  Parameter weight_, bias_;
};

// y [..., width] = table [vocabulary, width] at ids i32 [...]; starts normal with deviation 1, as torch.nn.Embedding
// does.
class Embedding final : public Module {
 public:
  Embedding(std::int64_t vocabulary, std::int64_t width, Initializer initializer = Initializer::normal(1.0f))
      : shape_{vocabulary, width}, initializer_(initializer) {}
  void register_into(Registry registry) override { table_ = registry.parameter("weight", shape_, initializer_); }
  Tensor forward(Tape& tape, const Tensor& ids) const override { return embedding(tape, ids, table_); }

 private:
  Shape shape_;
  Initializer initializer_;
  Parameter table_;
};

// y [..., width] from x [..., width], normalised over the last axis; gamma starts at one, beta at zero.
class LayerNorm final : public Module {
 public:
  explicit LayerNorm(std::int64_t width, float eps = 1e-5f) : width_(width), eps_(eps) {}
  void register_into(Registry registry) override;
  Tensor forward(Tape& tape, const Tensor& x) const override { return layernorm(tape, x, gamma_, beta_, eps_); }
  // Of x + residual, which comes back beside it.
  ResidualLayerNorm forward(Tape& tape, const Tensor& x, const Tensor& residual) const {
    return residual_layernorm(tape, x, residual, gamma_, beta_, eps_);
  }

 private:
  std::int64_t width_;
  float eps_;
  Parameter gamma_, beta_;
};

// x of any shape; y of the same.
class Gelu final : public Module {
 public:
  void register_into(Registry) override {}
  Tensor forward(Tape& tape, const Tensor& x) const override { return gelu(tape, x); }
};

// x of any shape; y of the same.
class Relu final : public Module {
 public:
  void register_into(Registry) override {}
  Tensor forward(Tape& tape, const Tensor& x) const override { return relu(tape, x); }
};

// Zeroes elements of x (of any shape) with probability p in training and divides the others by 1 - p. 0 <= p < 1.
class Dropout final : public Module {
 public:
  explicit Dropout(float p);
  void register_into(Registry registry) override { site_ = registry.dropout_site(); }
  Tensor forward(Tape& tape, const Tensor& x) const override { return dropout(tape, x, p_, site_); }

 private:
  float p_;
  std::uint32_t site_ = 0;
};

// Applies its modules in order; parameters are named by index: "0.weight".
class Sequential final : public Module {
 public:
  template <class... Modules>
  explicit Sequential(Modules... modules) {
    (modules_.push_back(std::make_unique<Modules>(std::move(modules))), ...);
  }
  void register_into(Registry registry) override;
  Tensor forward(Tape& tape, const Tensor& x) const override;

 private:
  std::vector<std::unique_ptr<Module>> modules_;
};

}  // namespace accrue::nn
