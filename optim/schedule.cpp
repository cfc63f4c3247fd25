#include "optim/schedule.h"

#include <array>
#include <cmath>
#include <utility>

#include "core/check.h"

namespace accrue::optim {
namespace {

using kernels::ScheduleKind;

constexpr std::array<std::pair<std::string_view, ScheduleKind>, 4> kinds = {{{"constant", ScheduleKind::constant},
                                                                             {"linear", ScheduleKind::linear},
                                                                             {"cosine", ScheduleKind::cosine},
                                                                             {"wsd", ScheduleKind::wsd}}};

ScheduleKind kind_of(std::string_view name) {
  for (const auto& [known, kind] : kinds) {
    if (known == name) return kind;
  }
  fail(ErrorKind::usage, "schedule '{}' is unknown; use constant, linear, cosine or wsd", name);
}

void require_rate(const char* what, double rate) {
  if (!(rate >= 0 && std::isfinite(rate))) fail(ErrorKind::usage, "the {} must be 0 or positive, but is {}", what, rate);
}

void validate(const Schedule& s) {
  require_rate("learning rate", s.peak);
  require_rate("minimum learning rate", s.minimum);
  if (s.warmup < 0) fail(ErrorKind::usage, "the warm-up must be 0 or more updates, but is {}", s.warmup);
  if (s.kind == ScheduleKind::constant) return;
  if (s.minimum > s.peak)
    fail(ErrorKind::usage, "the minimum learning rate {} is above the peak {}; lower it, or raise the peak", s.minimum, s.peak);
  if (s.warmup > s.total)
    fail(ErrorKind::usage, "a warm-up of {} updates is longer than the run of {}; shorten it to at most {}", s.warmup, s.total, s.total);
  const bool decay_fits = s.decay >= 0 && s.warmup + s.decay <= s.total;
  if (s.kind == ScheduleKind::wsd && !decay_fits)
    fail(ErrorKind::usage, "a warm-up of {} and a decay of {} updates do not fit into a run of {}; the decay can be at most {}",
         s.warmup, s.decay, s.total, s.total - s.warmup);
}

}  // namespace

Schedule constant(double learning_rate) { return parse_schedule("constant", {.peak = learning_rate}); }

Schedule parse_schedule(std::string_view name, const Schedule& parameters) {
  Schedule schedule = parameters;
  schedule.kind = kind_of(name);
  validate(schedule);
  return schedule;
}

}  // namespace accrue::optim
