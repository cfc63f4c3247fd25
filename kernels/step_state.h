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

  std::int32_t overflowed = -1;  // the parameter whose gradient overflowed first, by find_overflow; -1: none

  // From an overflow (finish_step) or bad data (begin_step) on, until the host has seen it: windows that it has begun
  // in the meantime are neither applied nor counted.
  std::int32_t held = 0;

  // Of the step, by begin_step.
  std::int32_t apply = 0;  // 1: the optimizer updates; 0: it leaves every bit as it is
  float factor = 0;        // clip factor / (sigma * W): multiplies the buffer to give the clipped gradient
  float grad_norm = 0;     // norm of G before clipping
  float learning_rate = 0;
  float loss_scale = 1;  // sigma: constant within a window (contract 13)

  // Of loss scaling, by finish_step.
  std::int64_t clean_windows = 0;    // without overflow, since the scale last changed or a window overflowed
  std::int64_t floor_overflows = 0;  // windows in a row that overflowed although the scale could not fall further

  // Counters (contract 5).
  std::int64_t update = 0;    // updates done; during a step, those before it
  std::int64_t skipped = 0;   // windows whose gradient was not finite
  std::int64_t empty = 0;     // windows with W = 0
  std::int64_t replayed = 0;  // overflows after which the same window came again; not among the windows
};

Tensor make_step_state(Device device);
// The loss scale in a state, f32 [1], as kernels/cross_entropy.h takes it: a view, whose value changes with the state.
Tensor loss_scale_of(const Tensor& state);
StepState read_step_state(const Tensor& state);  // copies to the host: synchronises
void write_step_state(const Tensor& state, const StepState& value);

}  // namespace accrue::kernels
