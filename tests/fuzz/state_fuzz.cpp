// The state.json of a checkpoint: what is accepted is consistent and comes back when written.
#include <nlohmann/json.hpp>

#include "tests/fuzz/model_config.h"
#include "train/checkpoint_state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  using namespace accrue::train;
  const auto json = parsed_json({data, size});
  if (!json) return 0;
  const auto state = parsed(json_limit(size), [&] { return state_from_json(*json, "state.json"); });
  if (!state) return 0;
  const auto& step = state->accumulator.step;
  require(step.update >= 0 && step.skipped >= 0 && step.empty >= 0 && state->accumulator.micro >= 0,
          "a negative counter");
  require(static_cast<std::uint64_t>(step.update) + static_cast<std::uint64_t>(step.skipped) +
                  static_cast<std::uint64_t>(step.empty) ==
              static_cast<std::uint64_t>(state->accumulator.window),
          "windows that are neither updates nor skipped nor empty");
  const nlohmann::json written = state_to_json(*state);
  const CheckpointState again = state_from_json(written, "again");
  require(again.settings == state->settings && again.optimizer == state->optimizer,
          "settings that change when written");
  require(state_to_json(again) == written, "a state that changes when written");
  return 0;
}
