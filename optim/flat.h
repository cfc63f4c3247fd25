// What the optimizers share: flat state buffers and their runs by parameter group.
#pragma once

#include <cmath>
#include <string_view>

#include "core/parameter.h"

namespace accrue::optim {

// A zero f32 buffer in the parameters' layout.
inline Tensor flat_zeros(const ParameterStore& parameters) {
  check(parameters.allocated(), "an optimizer needs allocated parameters; call ParameterStore::allocate() first");
  return Tensor::zeros(parameters.master().shape(), DType::f32, parameters.master().device(), Category::optimizer);
}

// The part of a flat buffer that belongs to a group.
inline Tensor run_of(const Tensor& flat, const ParameterGroup& group) { return flat.view({group.count}, group.offset); }

// The group's values in the compute dtype; undefined when computing in f32, where the master values serve.
inline Tensor compute_run_of(const ParameterStore& parameters, const ParameterGroup& group) {
  return parameters.compute_dtype() == DType::f32 ? Tensor() : run_of(parameters.values(), group);
}

inline void require_weight_decay(std::string_view optimizer, double weight_decay) {
  if (!(weight_decay >= 0 && std::isfinite(weight_decay)))
    fail(ErrorKind::usage, "{}: weight_decay must be 0 or positive, but is {}", optimizer, weight_decay);
}

}  // namespace accrue::optim
