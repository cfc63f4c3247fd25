// The state.json of a checkpoint: what is accepted is consistent and comes back when written.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/fuzz/model_config.h"
#include "train/checkpoint_state.h"
#include "train/printable.h"

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

  // What a resume says of it, to a run with other settings and to one with almost the same.
  RunSettings same_cursor = state->settings;
  same_cursor.rules = {{"--clip", "1"}, {"--keep", "3"}};
  for (const RunSettings& now : {RunSettings{}, same_cursor}) {
    parsed(json_limit(size), [&] { return (require_same_data_cursor(state->settings, now), true); },
           {accrue::ErrorKind::usage, accrue::ErrorKind::bad_data});
    for (const std::string& line : changed_rules(state->settings, now))
      require(!steers_a_terminal(line) && line.size() <= 1000, "a line that steers a terminal");
  }
  require(!steers_a_terminal(state->optimizer), "an optimizer's name that steers a terminal");

  // A run that goes on from there must be able to read its next checkpoint, too.
  constexpr std::int64_t far_from_the_end = std::int64_t{1} << 52;
  std::int64_t position = 0;
  const bool at_the_end =
      std::max({step.update, step.replayed, step.floor_overflows, state->accumulator.micro}) > far_from_the_end ||
      __builtin_mul_overflow(state->accumulator.window + 2, state->settings.global_batch, &position);
  if (at_the_end) return 0;
  CheckpointState next = *state;
  ++next.accumulator.micro, ++next.accumulator.window;
  ++next.accumulator.step.update, ++next.accumulator.step.replayed, ++next.accumulator.step.floor_overflows;
  const nlohmann::json of_next = state_to_json(next);
  require(parsed(std::uint64_t{1} << 30, [&] { return state_from_json(of_next, "next"); }).has_value(),
          "a state after which no checkpoint can be read");
  return 0;
}
