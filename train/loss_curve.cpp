#include "train/loss_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/check.h"
#include "train/checksum.h"
#include "train/json_file.h"
#include "train/json_lines.h"
#include "train/json_value.h"
#include "train/line_plot.h"
#include "train/mapped_file.h"

namespace accrue::train {
namespace {

[[noreturn]] void refuse_line(std::string_view name, std::int64_t line, const std::string& why) {
  fail(ErrorKind::bad_data, "{}:{}: {}; is this a metrics.jsonl?", name, line, why);
}

nlohmann::json parse_line(std::span<const std::uint8_t> text, std::string_view name, std::int64_t line) {
  if (text.size() > longest_metrics_line)
    refuse_line(name, line,
                fmt::format("{} bytes, above the limit of {} for a line", text.size(), longest_metrics_line));
  if (text.empty()) refuse_line(name, line, "an empty line");
  try {
    return parse_json_object(text, fmt::format("{}:{}", name, line));
  } catch (const Error& error) {
    fail(error.kind(), "{}; is this a metrics.jsonl?", error.what());
  }
}

// A loss as json_number() writes it; none for anything else.
std::optional<double> loss_of(const nlohmann::json& object, const char* key) {
  if (const auto value = json_value<double>(object, key)) return value;
  const auto word = json_value<std::string>(object, key);
  if (word != "NaN" && word != "Infinity" && word != "-Infinity") return std::nullopt;
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

LossCurve parse_loss_curve(std::span<const std::uint8_t> text, std::string_view name) {
  LossCurve curve;
  for (std::int64_t line = 1; !text.empty(); ++line) {
    const auto length = static_cast<std::size_t>(std::find(text.begin(), text.end(), '\n') - text.begin());
    const nlohmann::json object = parse_line(text.first(length), name, line);
    text = text.subspan(std::min(text.size(), length + 1));
    const auto update = json_value<double>(object, "update");
    if (!update) refuse_line(name, line, "'update' is missing or no number");
    const auto loss = loss_of(object, "loss");
    if (!loss) refuse_line(name, line, "'loss' is missing or no number");
    curve.train.emplace_back(*update, *loss);
    if (!object.contains("validation_loss")) continue;
    const auto validation = loss_of(object, "validation_loss");
    if (!validation) refuse_line(name, line, "'validation_loss' is no number");
    curve.validation.emplace_back(*update, *validation);
  }
  return curve;
}

LossCurve read_loss_curve(const std::filesystem::path& metrics) {
  const MappedFile file(metrics);
  // That of a run that goes on grows meanwhile.
  remember_content(file.bytes(), checksum64(file.bytes(), 0));
  return file.read_intact([&](auto bytes) { return parse_loss_curve(bytes, metrics.string()); });
}

std::string draw_loss_curve(const LossCurve& curve, bool unicode) {
  std::vector<Series> series{{.name = "train", .points = curve.train}};
  if (!curve.validation.empty()) series.push_back({.name = "validation", .points = curve.validation});
  return line_plot(series, {.unicode = unicode, .x_label = "updates", .y_label = "loss"});
}

bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale(value);
    return locale.find("UTF-8") != std::string_view::npos || locale.find("utf8") != std::string_view::npos;
  }
  return false;
}

}  // namespace accrue::train
