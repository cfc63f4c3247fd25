// What a checkpoint keeps of the trainer: what the log has still to say of windows that are done.
#pragma once

#include <optional>
#include <vector>

#include "train/accumulator.h"

namespace accrue::train {

struct TrainerState {
  std::vector<WindowReport> replayed;    // the attempts so far at the window that comes next
  std::optional<WindowReport> unlogged;  // the window done last, where its evaluation was interrupted
};

}  // namespace accrue::train
