// The sums of an open window in a file: window.safetensors, of a checkpoint that was made in the middle of one.
#pragma once

#include <filesystem>

#include "core/parameter.h"
#include "kernels/step_state.h"
#include "train/safetensors.h"

namespace accrue::train {

// What the writer is to write: the window's sums of losses, targets and non-finite gradients ("loss_sum" F64,
// "target_count" I64, "found_inf" I32, each [1]), and for every parameter that got a contribution its summed gradient
// ("gradient.<name>", in the dtype it accumulates in). A parameter without a tensor is fresh (contract 10). `step` and
// the store must outlive the writer.
void add_window(SafetensorsWriter& writer, const ParameterStore& parameters, const kernels::StepState& step);

// The file of a window, found to fit. Nothing is changed before load().
class WindowFile {
 public:
  // Throws Error(no_input), or Error(bad_data) naming the tensor that is missing, unknown, or of another dtype or
  // shape.
  WindowFile(const std::filesystem::path& path, const ParameterStore& parameters);
  // The sums that are the step state's.
  void load(kernels::StepState& step) const;
  // The gradients, and which of them are fresh.
  void load(const ParameterStore& parameters) const;

 private:
  SafetensorsFile file_;
};

}  // namespace accrue::train
