// What a loss operation reports: a sum and a count, never a mean (contract 1).
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace accrue::kernels {

// The content of a u8 [16] tensor on the device.
struct LossTerms {
  double sum = 0;          // S_m: the summed loss of the micro-batch, not scaled by the loss scale
  std::int64_t count = 0;  // n_m: its number of targets
};

inline Tensor empty_loss_terms(Device device) { return Tensor::empty({sizeof(LossTerms)}, DType::u8, device); }
LossTerms read_loss_terms(const Tensor& terms);  // copies to the host: synchronises

}  // namespace accrue::kernels
