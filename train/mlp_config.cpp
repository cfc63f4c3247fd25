#include "train/mlp_config.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/json_file.h"
#include "train/json_value.h"
#include "train/safetensors.h"
#include "train/weights_size.h"

namespace accrue::train {
namespace {

std::vector<std::int64_t> mlp_widths(const nlohmann::json& json, std::string_view name) {
  const auto member = json.find("widths");
  if (member == json.end() || !member->is_array() || member->size() < 2 || member->size() > most_mlp_widths)
    fail(ErrorKind::bad_data, "{}: 'widths' must be a list of 2 to {} layer widths", name, most_mlp_widths);
  std::vector<std::int64_t> widths;
  for (const nlohmann::json& width : *member) {
    const auto value = json_as<std::int64_t>(width);
    if (!value || *value < 1 || *value > largest_mlp_width)
      fail(ErrorKind::bad_data, "{}: 'widths' must hold whole numbers in [1, {}], but number {} is none", name,
           largest_mlp_width, widths.size() + 1);
    widths.push_back(*value);
  }
  if (widths.back() != mlp_classes)
    fail(ErrorKind::bad_data, "{}: the last of 'widths' must be the {} classes, but is {}", name, mlp_classes,
         widths.back());
  return widths;
}

float mlp_value(const nlohmann::json& json, const char* key, std::string_view name) {
  if (const auto value = json_value<float>(json, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or no number that a float holds; the file is damaged", name, key);
}

}  // namespace

nlohmann::json mlp_config_json(const MlpConfig& config) {
  return {{"model_type", "accrue-mlp"},
          {"widths", config.widths},
          {"dropout", config.dropout},
          {"pixel_mean", config.moments.mean},
          {"pixel_deviation", config.moments.deviation}};
}

MlpConfig parse_mlp_config(const nlohmann::json& json, std::string_view name) {
  if (json_value<std::string>(json, "model_type") != "accrue-mlp")
    fail(ErrorKind::bad_data, "{}: not the configuration of an MLP: 'model_type' is not 'accrue-mlp'", name);
  MlpConfig config{
      .widths = mlp_widths(json, name),
      .dropout = mlp_value(json, "dropout", name),
      .moments = {.mean = mlp_value(json, "pixel_mean", name), .deviation = mlp_value(json, "pixel_deviation", name)}};
  if (!(config.dropout >= 0 && config.dropout < 1))
    fail(ErrorKind::bad_data, "{}: 'dropout' must be in [0, 1), but is {}", name, config.dropout);
  if (!(config.moments.deviation > 0))
    fail(ErrorKind::bad_data, "{}: 'pixel_deviation' must be above 0, but is {}", name, config.moments.deviation);
  return config;
}

std::int64_t parameter_count(const MlpConfig& config) {
  std::int64_t count = 0;  // at most most_mlp_widths * 2^41
  for (std::size_t i = 1; i < config.widths.size(); ++i) count += (config.widths[i - 1] + 1) * config.widths[i];
  return count;
}

MlpConfig mlp_config_of_checkpoint(const std::filesystem::path& checkpoint) {
  const std::filesystem::path file = checkpoint / "config.json", weights = checkpoint / "model.safetensors";
  MlpConfig config = parse_mlp_config(read_json(file), file.string());
  require_weights_for(parameter_count(config), file.string(), SafetensorsFile(weights).entries(), weights.string());
  return config;
}

}  // namespace accrue::train
