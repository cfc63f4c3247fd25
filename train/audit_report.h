// An audit in words, as a table, as a plot and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/audit.h"

namespace accrue::train {

// One line for the columns' names and one for each row; a column for the cost of computing only where `precision`, as
// --precision has it, is not fp32.
std::string audit_heading(const std::string& precision);
std::string audit_line(const AuditRow& row);

// Error against accumulation, both on logarithmic axes. An error of zero has no place there.
std::string draw_audit(const std::vector<AuditRow>& rows, const std::string& precision, bool unicode);

// What the last row says, in a sentence.
std::string audit_conclusion(const std::vector<AuditRow>& rows, const std::string& precision);

// {"precision": …, "micro_batch": …, "rows": [{"accumulation": K, "fp32": {"error": …, "worst_parameter": …,
// "worst_error": …}, "bf16": {…}, "computation": {…}}, …]}, the last where there is one.
nlohmann::json audit_json(const std::vector<AuditRow>& rows, const AuditOptions& options, const std::string& precision);

}  // namespace accrue::train
