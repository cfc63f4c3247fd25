// Clipping by the norm of the gradient, as a function usable on host and device.
#pragma once

#include "core/host_device.h"

namespace accrue::kernels {

// min(1, max_norm / (norm + 1e-6)), the rule of contract 17 and of torch.nn.utils.clip_grad_norm_ (Pascanu, Mikolov,
// Bengio, ICML 2013); max_norm = 0 does not clip. A norm of NaN or infinity gives no meaningful factor: test it first.
ACCRUE_HOST_DEVICE inline double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0) return 1;
  const double factor = max_norm / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

}  // namespace accrue::kernels
