// The parts of a linear layer, for operations that run them on a part of the rows.
#pragma once

#include "nn/functional.h"

namespace accrue::nn {

// The width of y = linear(x); throws unless weight fits x.
std::int64_t linear_width(const Tensor& x, const Parameter& weight, WeightLayout layout);

// Of a bias that may be undefined, as are these then.
inline Tensor optional_value(const Parameter& bias) { return bias.defined() ? bias.value() : Tensor(); }
inline GradSlot optional_slot(Tape& tape, const Parameter& bias) {
  return bias.defined() ? tape.grad_slot(bias) : GradSlot();
}

// y = linear(x); bias may be undefined.
void linear_forward(const Tensor& y, const Tensor& x, const Parameter& weight, const Parameter& bias,
                    WeightLayout layout);

// The gradients of y = linear(x) from dy. dbias and dx may be undefined.
struct LinearGradients {
  GradSlot dx, dweight, dbias;
  Tensor dy, x, weight;
  WeightLayout layout = WeightLayout::in_out;
};
void linear_gradients(const LinearGradients&);

}  // namespace accrue::nn
