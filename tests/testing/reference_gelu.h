// GELU in double precision, with bounds of its evaluation in f32.
#pragma once

#include <cmath>
#include <numbers>

#include "core/cuda_devices.h"
#include "kernels/matmul_epilogues.h"
#include "tests/testing/compare.h"

namespace accrue::testing {

// The definition, written with the logistic function so that fp64 loses nothing: (1 + tanh v) / 2 = 1 / (1 + e^(-2v)).
struct Gelu {
  static constexpr double u = unit_roundoff(DType::f32);
  double twice_v, e, gate, value, derivative;
  explicit Gelu(double x) {
    const double scale = 2 * std::sqrt(2 / std::numbers::pi);
    twice_v = scale * (x + 0.044715 * x * x * x);
    e = std::exp(-twice_v);
    gate = 1 / (1 + e);
    value = x * gate;
    derivative = gate;
    if (gate > 0) derivative += x * gate * (e * gate) * scale * (1 + 3 * 0.044715 * x * x);
  }
  // Error bounds of an f32 evaluation. 2v is rounded five times (constants, products, sum of terms with one sign),
  // which e amplifies by |2v|; the exponential adds at most 4 u (2 ulp, CUDA's exp2f); the gate damps both by 1 - gate
  // and adds a sum and a quotient.
  double e_error() const { return (5 * std::abs(twice_v) + 4) * u; }
  double gate_error() const { return (1 - gate) * e_error() + 2 * u; }
  // A gate below the smallest normal number may be flushed to 0: 2^-126 x, with x around -10.
  double value_bound() const { return std::abs(value) * (gate_error() + u) + 16 * 0x1p-126; }
  // s + s * (x slope)(e s): the second term has s twice, e once, the slope's five roundings and four products; one
  // fused sum. Below the smallest normal gate the derivative is |x slope| 2^-126 < 2^8 2^-126 off.
  double derivative_bound() const {
    const double second = std::abs(derivative - gate);
    return gate * gate_error() + second * (2 * gate_error() + e_error() + 9 * u) + std::abs(derivative) * u + 0x1p-118;
  }
};

// How far more the GELU that a GPU's library computes with a product may be from the formula: it tells nothing of it,
// and may use the hardware's tanh, whose relative error is at most 2^-11 (PTX ISA, tanh.approx.f32).
inline double library_tanh_error() {
  return kernels::matmul_epilogues() == kernels::MatmulEpilogues::all && !cuda::emulated() ? 0x1p-11 : 0;
}
// Of gelu(x) = x/2 (1 + tanh v), and of its derivative (1 + tanh v)/2 + x/2 (1 - tanh(v)^2) v'.
inline double library_gelu_error(double x) { return 0.5 * std::abs(x) * library_tanh_error(); }
inline double library_gelu_derivative_error(double x) {
  const double scale = std::sqrt(2 / std::numbers::pi), t = std::tanh(scale * (x + 0.044715 * x * x * x));
  const double slope = scale * (1 + 3 * 0.044715 * x * x);
  return library_tanh_error() * (0.5 * std::abs(t) + std::abs(x) * t * t * slope);
}

}  // namespace accrue::testing
