#include "train/audit_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "train/json_lines.h"
#include "train/line_plot.h"

namespace accrue::train {
namespace {

std::string in_words(double error) {
  if (error == 0) return "nothing";
  return error >= 1e-4 ? fmt::format("{:.2g} %", 100 * error) : fmt::format("{:.1e}", error);
}

nlohmann::json error_json(const GradientError& error) {
  return {{"error", json_number(error.whole)},
          {"worst_parameter", error.worst_parameter},
          {"worst_error", json_number(error.worst)}};
}

}  // namespace

std::string audit_heading(const std::string& precision) {
  const std::string computation =
      precision == "fp32" ? std::string() : fmt::format(" {:>17}", "computed in " + precision);
  return fmt::format("{:>7} {:>12} {:>12}{}  {}\n", "K", "sum in fp32", "sum in bf16", computation,
                     "worst parameter in bf16");
}

std::string audit_line(const AuditRow& row) {
  const std::string computation = row.computation ? fmt::format(" {:>17.2e}", row.computation->whole) : std::string();
  return fmt::format("{:>7} {:>12.2e} {:>12.2e}{}  {} {:.2e}\n", row.accumulation, row.f32.whole, row.bf16.whole,
                     computation, row.bf16.worst_parameter, row.bf16.worst);
}

std::string draw_audit(const std::vector<AuditRow>& rows, const std::string& precision, bool unicode) {
  std::vector<Series> series{{.name = "sum in fp32", .points = {}}, {.name = "sum in bf16", .points = {}}};
  if (precision != "fp32") series.push_back({.name = "computed in " + precision, .points = {}});
  for (const AuditRow& row : rows) {
    const auto k = static_cast<double>(row.accumulation);
    series[0].points.emplace_back(k, row.f32.whole);
    series[1].points.emplace_back(k, row.bf16.whole);
    if (row.computation) series[2].points.emplace_back(k, row.computation->whole);
  }
  return line_plot(series, {.unicode = unicode,
                            .x_label = "micro-batches",
                            .y_label = "error",
                            .x_axis = Axis::logarithmic,
                            .y_axis = Axis::logarithmic,
                            .first = FirstSeries::marks});
}

std::string audit_conclusion(const std::vector<AuditRow>& rows, const std::string& precision) {
  check(!rows.empty(), "audit_conclusion: no row");
  const AuditRow& last = rows.back();
  const std::string computation =
      last.computation ? fmt::format("; computing in {} costs {}", precision, in_words(last.computation->whole))
                       : std::string();
  return fmt::format("At K = {}, accumulating in bf16 loses {} of the gradient, accumulating in fp32 {}{}.\n",
                     last.accumulation, in_words(last.bf16.whole), in_words(last.f32.whole), computation);
}

nlohmann::json audit_json(const std::vector<AuditRow>& rows, const AuditOptions& options,
                          const std::string& precision) {
  nlohmann::json list = nlohmann::json::array();
  for (const AuditRow& row : rows) {
    list.push_back({{"accumulation", row.accumulation}, {"fp32", error_json(row.f32)}, {"bf16", error_json(row.bf16)}});
    if (row.computation) list.back()["computation"] = error_json(*row.computation);
  }
  return {{"precision", precision}, {"micro_batch", options.micro_batch}, {"rows", std::move(list)}};
}

}  // namespace accrue::train
