#include "train/loss_curve.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/check.h"
#include "train/line_plot.h"
#include "train/mapped_file.h"

namespace accrue::train {
namespace {

double number(const nlohmann::json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

LossCurve read_loss_curve(const std::filesystem::path& metrics) {
  const MappedFile file(metrics);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  LossCurve curve;
  for (int line = 1; !rest.empty(); ++line) {
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    const nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
    if (!object.is_object() || !object.contains("update") || !object["update"].is_number() || !object.contains("loss"))
      fail(ErrorKind::bad_data, "{}:{}: not an object with \"update\" and \"loss\"; is this a metrics.jsonl?",
           metrics.string(), line);
    const double update = number(object["update"]);
    curve.train.emplace_back(update, number(object["loss"]));
    if (object.contains("validation_loss")) curve.validation.emplace_back(update, number(object["validation_loss"]));
  }
  return curve;
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
