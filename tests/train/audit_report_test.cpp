#include "train/audit_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace accrue::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

AuditRow audit_row(std::int64_t accumulation, double f32, double bf16, std::optional<double> computation = {}) {
  AuditRow row{.accumulation = accumulation,
               .f32 = {.whole = f32, .worst_parameter = "wte.weight", .worst = 2 * f32},
               .bf16 = {.whole = bf16, .worst_parameter = "ln_f.bias", .worst = 3 * bf16},
               .computation = std::nullopt};
  if (computation) row.computation = {.whole = *computation, .worst_parameter = "wpe.weight", .worst = *computation};
  return row;
}

// Where a text's word begins or, for a right-aligned column, ends.
std::size_t end_of(const std::string& text, const std::string& word) { return text.find(word) + word.size(); }

TEST(AuditReport, LinesStandUnderTheirHeading) {
  const std::string heading = audit_heading("bf16"), line = audit_line(audit_row(64, 1.25e-7, 0.0321, 0.004));
  EXPECT_EQ(end_of(heading, "K"), end_of(line, "64"));
  EXPECT_EQ(end_of(heading, "sum in fp32"), end_of(line, "1.25e-07"));
  EXPECT_EQ(end_of(heading, "sum in bf16"), end_of(line, "3.21e-02"));
  EXPECT_EQ(end_of(heading, "computed in bf16"), end_of(line, "4.00e-03"));
  EXPECT_EQ(heading.find("worst parameter in bf16"), line.find("ln_f.bias 9.63e-02\n"));
}

TEST(AuditReport, ComputingInFp32HasNoColumn) {
  EXPECT_THAT(audit_heading("fp32"), Not(HasSubstr("computed")));
  EXPECT_EQ(audit_line(audit_row(1, 0, 0.00183)), "      1     0.00e+00     1.83e-03  ln_f.bias 5.49e-03\n");
}

TEST(AuditReport, ThePlotIsLogarithmicAndLeavesOutWhatIsExact) {
  const std::string plot =
      draw_audit({audit_row(1, 0, 1e-3), audit_row(32, 1e-7, 1e-2), audit_row(1024, 1e-6, 0.1)}, "fp32", false);
  EXPECT_THAT(plot, HasSubstr("    error   o sum in fp32   + sum in bf16\n"));
  EXPECT_THAT(plot, HasSubstr("      0.1 |"));
  EXPECT_THAT(plot, HasSubstr("    1e-07 |"));
  EXPECT_THAT(plot, HasSubstr("1024 micro-batches\n"));
  const std::string marks = plot.substr(plot.find('\n'));  // below the legend
  EXPECT_EQ(std::ranges::count(marks, 'o'), 2 + 1);        // and that of "micro-batches"
  EXPECT_THAT(draw_audit({audit_row(2, 1e-7, 1e-2, 1e-3)}, "fp16", false), HasSubstr("# computed in fp16"));
}

TEST(AuditReport, TheConclusionIsTheLastRows) {
  const std::vector<AuditRow> rows = {audit_row(1, 0, 0.002), audit_row(512, 4.2e-8, 0.0312)};
  EXPECT_EQ(audit_conclusion(rows, "fp32"),
            "At K = 512, accumulating in bf16 loses 3.1 % of the gradient, accumulating in fp32 4.2e-08.\n");
  EXPECT_EQ(audit_conclusion({rows.front()}, "fp32"),
            "At K = 1, accumulating in bf16 loses 0.2 % of the gradient, accumulating in fp32 nothing.\n");
  EXPECT_EQ(
      audit_conclusion({audit_row(8, 4e-8, 0.26, 0.00054)}, "fp16"),
      "At K = 8, accumulating in bf16 loses 26 % of the gradient, accumulating in fp32 4.0e-08; computing in fp16 "
      "costs 0.054 %.\n");
}

TEST(AuditReport, JsonHasEveryNumber) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  const nlohmann::json json =
      audit_json({audit_row(1, 0, 0.002), audit_row(4, infinite, 0.25, 0.5)}, {.micro_batch = 3}, "bf16");
  const nlohmann::json expected = nlohmann::json::parse(R"({"precision": "bf16", "micro_batch": 3, "rows": [
    {"accumulation": 1, "fp32": {"error": 0.0, "worst_parameter": "wte.weight", "worst_error": 0.0},
                        "bf16": {"error": 0.002, "worst_parameter": "ln_f.bias", "worst_error": 0.006}},
    {"accumulation": 4, "fp32": {"error": "Infinity", "worst_parameter": "wte.weight", "worst_error": "Infinity"},
                        "bf16": {"error": 0.25, "worst_parameter": "ln_f.bias", "worst_error": 0.75},
                        "computation": {"error": 0.5, "worst_parameter": "wpe.weight", "worst_error": 0.5}}]})");
  EXPECT_EQ(json, expected) << json;
}

}  // namespace
}  // namespace accrue::train
