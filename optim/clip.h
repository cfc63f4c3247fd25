// Clipping of the gradient by its global norm.
#pragma once

#include "kernels/clip_factor.h"
#include "optim/optimizer.h"

namespace accrue::optim {

// min(1, max_norm / (norm + 1e-6)): what the optimizer multiplies the gradient with. kernels::begin_step applies it on
// the device; 0 as the maximum norm means no clipping.
using kernels::clip_factor;

// Returns a maximum norm for begin_step; throws Error(usage) unless it is finite and not negative.
inline double validated_max_norm(double max_norm) {
  require_not_negative("gradient clipping", "the maximum norm", max_norm);
  return max_norm;
}

}  // namespace accrue::optim
