#include "optim/schedule.h"

#include <array>
#include <utility>

#include "core/check.h"
#include "optim/optimizer.h"

namespace accrue::optim {
namespace {

using kernels::ScheduleKind;
using kernels::ScheduleParameters;

constexpr std::array<std::pair<std::string_view, ScheduleKind>, 4> kinds = {{{"constant", ScheduleKind::constant},
                                                                             {"linear", ScheduleKind::linear},
                                                                             {"cosine", ScheduleKind::cosine},
                                                                             {"wsd", ScheduleKind::wsd}}};

void check_rates(const ScheduleParameters& s) {
  require_not_negative("learning-rate schedule", "the peak rate", s.peak);
  require_not_negative("learning-rate schedule", "the minimum rate", s.minimum);
  if (s.kind != ScheduleKind::constant && s.minimum > s.peak)
    fail(ErrorKind::usage, "learning-rate schedule: the minimum rate must not exceed the peak rate {}, but is {}",
         s.peak, s.minimum);
}

void check_lengths(const ScheduleParameters& s) {
  if (s.warmup < 0)
    fail(ErrorKind::usage, "learning-rate schedule: the warm-up must not be negative, but is {} updates", s.warmup);
  if (s.kind == ScheduleKind::constant) return;
  if (s.total < 1)
    fail(ErrorKind::usage, "learning-rate schedule: {} needs the updates of the whole run, at least 1, but has {}",
         name_of(s.kind), s.total);
  if (s.warmup > s.total)
    fail(ErrorKind::usage, "learning-rate schedule: the warm-up must fit the run of {} updates, but is {} updates",
         s.total, s.warmup);
  if (s.kind != ScheduleKind::wsd) return;
  if (s.decay < 0 || s.decay > s.total - s.warmup)
    fail(ErrorKind::usage,
         "learning-rate schedule: the decay must fit the {} updates that a run of {} leaves after the warm-up, but is "
         "{} "
         "updates",
         s.total - s.warmup, s.total, s.decay);
}

}  // namespace

ScheduleParameters validated(const ScheduleParameters& schedule) {
  check_rates(schedule);
  check_lengths(schedule);
  return schedule;
}

ScheduleParameters constant_schedule(double peak, std::int64_t warmup) {
  return validated({.kind = ScheduleKind::constant, .peak = peak, .warmup = warmup});
}

ScheduleParameters linear_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total) {
  return validated({.kind = ScheduleKind::linear, .peak = peak, .minimum = minimum, .warmup = warmup, .total = total});
}

ScheduleParameters cosine_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total) {
  return validated({.kind = ScheduleKind::cosine, .peak = peak, .minimum = minimum, .warmup = warmup, .total = total});
}

ScheduleParameters wsd_schedule(double peak, double minimum, std::int64_t warmup, std::int64_t total,
                                std::int64_t decay) {
  return validated(
      {.kind = ScheduleKind::wsd, .peak = peak, .minimum = minimum, .warmup = warmup, .total = total, .decay = decay});
}

ScheduleKind parse_schedule_kind(std::string_view name) {
  for (const auto& [known, kind] : kinds)
    if (known == name) return kind;
  fail(ErrorKind::usage, "learning-rate schedule: '{}' is unknown; use constant, linear, cosine or wsd", name);
}

std::string_view name_of(ScheduleKind kind) {
  for (const auto& [name, known] : kinds)
    if (known == kind) return name;
  return "?";
}

}  // namespace accrue::optim
