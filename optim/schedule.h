// Learning-rate schedules; their values are kernels::schedule_value.
#pragma once

#include <string_view>

#include "kernels/schedule_value.h"

namespace accrue::optim {

using Schedule = kernels::ScheduleParameters;

// Always the same rate.
Schedule constant(double learning_rate);

// The schedule of a name ("constant", "linear", "cosine", "wsd") with the other fields of `parameters`, checked: rates finite and
// not negative, minimum <= peak, warm-up (and wsd's decay) within the total. Throws Error(usage) saying what would be right.
Schedule parse_schedule(std::string_view name, const Schedule& parameters);

}  // namespace accrue::optim
