#include "train/profile_trace.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace accrue::train {
namespace {

// In nanoseconds: events are nested by their times, and so both ends of each are rounded alike.
nlohmann::json event(std::string_view name, double begin_seconds, double end_seconds) {
  const double begin = std::round(begin_seconds * 1e9), end = std::round(end_seconds * 1e9);
  return {{"name", name}, {"ph", "X"}, {"pid", 1}, {"tid", 1}, {"ts", begin / 1e3}, {"dur", (end - begin) / 1e3}};
}

nlohmann::json label(const char* what, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", 1}, {"tid", 1}, {"args", {{"name", name}}}};
}

}  // namespace

std::string profile_trace(const WindowProfile& profile, const MachinePeaks& peaks, const std::string& device) {
  nlohmann::json events = nlohmann::json::array();
  events.push_back(label("process_name", "accrue"));
  events.push_back(label("thread_name", device));
  events.push_back(event(fmt::format("window {}", profile.window), 0, profile.recording.seconds));
  for (const OperationCall& call : profile.recording.calls) {
    nlohmann::json one = event(call.name, call.begin, call.end);
    one["args"] = {{"flop", call.cost.flop}, {"bytes", call.cost.bytes}};
    events.push_back(std::move(one));
  }
  const nlohmann::json trace = {{"displayTimeUnit", "ms"},
                                {"otherData",
                                 {{"device", device},
                                  {"window", profile.window},
                                  {"micro_batches", profile.micro_batches},
                                  {"samples", profile.samples},
                                  {"peak_product_flop_per_second", peaks.product_flop},
                                  {"peak_other_flop_per_second", peaks.other_flop},
                                  {"peak_copied_bytes_per_second", peaks.copied_bytes}}},
                                {"traceEvents", std::move(events)}};
  return trace.dump() + "\n";
}

}  // namespace accrue::train
