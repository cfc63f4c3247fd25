// The scalars of one AdamW step, as a function usable on host and device.
#pragma once

#include <cmath>

#include "core/host_device.h"
#include "kernels/adamw.h"

namespace accrue::kernels {

struct AdamWHyperParameters {
  double beta1, beta2, eps, weight_decay;
};

inline AdamWHyperParameters hyper_parameters_of(const AdamW& op) {
  return {.beta1 = op.beta1, .beta2 = op.beta2, .eps = op.eps, .weight_decay = op.weight_decay};
}

// Each computed in f64 and rounded once.
struct AdamWStep {
  float factor;  // gradient scale
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float keep;            // 1 - lr * weight_decay
  float rate;            // lr / (1 - beta1^t)
  float rms_correction;  // 1 / sqrt(1 - beta2^t)
  float eps;
};

ACCRUE_HOST_DEVICE inline AdamWStep adamw_step(const AdamWHyperParameters& h, const StepState& state) {
  const double learning_rate = state.learning_rate, t = static_cast<double>(state.update + 1);
  return {.factor = state.factor,
          .beta1 = static_cast<float>(h.beta1),
          .one_minus_beta1 = static_cast<float>(1 - h.beta1),
          .beta2 = static_cast<float>(h.beta2),
          .one_minus_beta2 = static_cast<float>(1 - h.beta2),
          .keep = static_cast<float>(1 - learning_rate * h.weight_decay),
          .rate = static_cast<float>(learning_rate / (1 - std::pow(h.beta1, t))),
          .rms_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(h.beta2, t))),
          .eps = static_cast<float>(h.eps)};
}

}  // namespace accrue::kernels
