// The config.json of a GPT-2: what is accepted is possible, comes back when written, and is compared with the weights.
#include "train/gpt_config.h"

#include "tests/fuzz/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  using namespace accrue::train;
  const Parts parts = split_at_zero({data, size});
  const auto json = parsed_json(parts.first);
  if (!json) return 0;
  const auto config = parsed(json_limit(parts.first.size()), [&] { return parse_gpt_config(*json, "config.json"); });
  if (!config) return 0;
  config->validate();
  const auto again = parse_gpt_config(gpt_config_json(*config), "again");
  require(again.vocabulary == config->vocabulary && again.context == config->context &&
              again.layers == config->layers && again.heads == config->heads && again.width == config->width &&
              again.dropout == config->dropout,
          "a configuration that changes when written");
  const std::int64_t parameters = parameter_count(*config);
  require(parameters > config->layers * config->width, "fewer parameters than there are");
  if (parts.second) compare_with_weights(parameters, *parts.second);
  return 0;
}
