// Learning-rate schedules: checked parameters for kernels::schedule_value, which has the formulas.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/schedule_value.h"

namespace accrue::optim {

// Each counts updates, and throws Error(usage) for what cannot be a schedule: a rate that is negative or not finite, a
// minimum above the peak, a warm-up (and decay) longer than the run.
kernels::ScheduleParameters constant_schedule(double peak, std::int64_t warmup = 0);
kernels::ScheduleParameters linear_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total);
kernels::ScheduleParameters cosine_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total);
kernels::ScheduleParameters wsd_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total,
                                         std::int64_t decay);

// "constant", "linear", "cosine" or "wsd"; throws Error(usage) that lists them.
kernels::ScheduleKind parse_schedule_kind(std::string_view name);
std::string_view name_of(kernels::ScheduleKind kind);

// Returns the parameters after the checks of the factories above.
kernels::ScheduleParameters validated(const kernels::ScheduleParameters& schedule);

}  // namespace accrue::optim
