// How one activation gradient is added to another; for Tape::contribute.
#pragma once

#include "core/grad_slot.h"

namespace accrue::nn {

void add_gradient(const GradSlot& slot, const Tensor& gradient);

}  // namespace accrue::nn
