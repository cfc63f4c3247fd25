// The factor of clipping by the global norm (Pascanu, Mikolov, Bengio, arXiv:1211.5063), usable on host and device.
#pragma once

namespace accrue::kernels {

// min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0 (no clipping).
inline double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0) return 1;
  const double factor = max_norm / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

}  // namespace accrue::kernels
