// The scalars of a window and of the optimizer step. They live on the device: the boundary's kernels read and write
// them there, and none of them needs the host.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace accrue::kernels {

// The content of a u8 tensor of sizeof(StepState) bytes.
struct StepState {
  // Of the open window.
  double loss_sum = 0;            // sum over micro-batches of S_m
  std::int64_t target_count = 0;  // W
  // Of the gradient, by gradient_check.
  double squared_norm = 0;     // of the buffer as it stands: sigma times the summed gradient
  std::int32_t found_inf = 0;  // sticky within the window; tested != 0

  // Of the step, by begin_step.
  std::int32_t apply = 0;  // 1: the optimizer updates; 0: it leaves every bit as it is
  float factor = 0;        // clip factor / (sigma * W): multiplies the buffer to give the clipped gradient
  float grad_norm = 0;     // norm of G before clipping
  float learning_rate = 0;
  float loss_scale = 1;  // sigma

  // Counters (contract 5).
  std::int64_t update = 0;   // updates done; during a step, those before it
  std::int64_t skipped = 0;  // windows whose gradient was not finite
  std::int64_t empty = 0;    // windows with W = 0
  std::int64_t skipped_in_a_row = 0;
};

Tensor make_step_state(Device device);
StepState read_step_state(const Tensor& state);  // copies to the host: synchronises
void write_step_state(const Tensor& state, const StepState& value);

}  // namespace accrue::kernels
