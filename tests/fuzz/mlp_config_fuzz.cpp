// The config.json of an MLP: what is accepted is possible, comes back when written, and is compared with the weights.
#include "train/mlp_config.h"

#include <cmath>

#include "tests/fuzz/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  using namespace accrue::train;
  const Parts parts = split_at_zero({data, size});
  const auto json = parsed_json(parts.first);
  if (!json) return 0;
  const auto config = parsed(json_limit(parts.first.size()), [&] { return parse_mlp_config(*json, "config.json"); });
  if (!config) return 0;
  require(config->widths.size() >= 2 && config->widths.back() == mlp_classes, "widths without the classes");
  require(config->dropout >= 0 && config->dropout < 1 && std::isfinite(config->moments.mean) &&
              std::isfinite(config->moments.deviation) && config->moments.deviation > 0,
          "an impossible number");
  const MlpConfig again = parse_mlp_config(mlp_config_json(*config), "again");
  require(again.widths == config->widths && again.dropout == config->dropout &&
              again.moments.mean == config->moments.mean && again.moments.deviation == config->moments.deviation,
          "a configuration that changes when written");
  const std::int64_t parameters = parameter_count(*config);
  require(parameters >= 2 * mlp_classes, "fewer parameters than there are");
  if (parts.second) compare_with_weights(parameters, *parts.second);
  return 0;
}
