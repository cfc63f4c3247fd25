#include "train/run_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "train/json_value.h"
#include "train/printable.h"

namespace accrue::train {
namespace {

std::uint64_t read_hash(const nlohmann::json& state, const std::filesystem::path& file) {
  const auto text = json_member<std::string>(state, "data_hash", file);
  std::uint64_t hash = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorKind::bad_data, "{}: 'data_hash' is '{}', which is no hash; the file is damaged", file.string(),
         printable(text));
  return hash;
}

std::vector<std::pair<std::string, std::string>> read_rules(const nlohmann::json& state,
                                                            const std::filesystem::path& file) {
  std::vector<std::pair<std::string, std::string>> rules;
  const auto member = state.find("rules");
  bool valid = member != state.end() && member->is_object();
  if (valid) {
    for (const auto& [option, value] : member->items()) {
      valid = valid && value.is_string();
      if (valid) rules.emplace_back(option, value.get<std::string>());
    }
  }
  if (!valid)
    fail(ErrorKind::bad_data, "{}: 'rules' is missing or of the wrong type; is this a checkpoint of Accrue?",
         file.string());
  return rules;
}

// A value of a file or of this run in a message.
std::uint64_t shown(std::uint64_t value) { return value; }
std::int64_t shown(std::int64_t value) { return value; }
std::string shown(const std::string& text) { return printable(text); }

template <class T>
void require_same(const char* option, const T& saved, const T& now) {
  if (saved != now)
    fail(ErrorKind::usage,
         "--resume: the checkpoint was made with {} {}, but this run has {}; use the same, or a new --out", option,
         shown(saved), shown(now));
}

}  // namespace

void write_settings(nlohmann::json& state, const RunSettings& settings) {
  state["program"] = settings.program;
  state["data_bytes"] = settings.data.bytes;
  state["data_hash"] = fmt::format("{:016x}", settings.data.hash);
  state["seed"] = settings.seed;
  state["global_batch"] = settings.global_batch;
  state["data_order"] = settings.data_order;
  state["partial_window"] = settings.partial_window;
  state["dataset_size"] = settings.dataset_size;
  state["steps"] = settings.steps;
  state["rules"] = nlohmann::json::object();
  for (const auto& [option, value] : settings.rules) state["rules"][option] = value;
}

RunSettings read_settings(const nlohmann::json& state, const std::filesystem::path& file) {
  return {.program = json_member<std::string>(state, "program", file),
          .data = {.bytes = json_member<std::uint64_t>(state, "data_bytes", file), .hash = read_hash(state, file)},
          .seed = json_member<std::uint64_t>(state, "seed", file),
          .global_batch = json_member<std::int64_t>(state, "global_batch", file),
          .data_order = json_member<std::string>(state, "data_order", file),
          .partial_window = json_member<std::string>(state, "partial_window", file),
          .dataset_size = json_member<std::int64_t>(state, "dataset_size", file),
          .steps = json_member<std::int64_t>(state, "steps", file),
          .rules = read_rules(state, file)};
}

std::string rule_of(const RunSettings& settings, const std::string& option) {
  const auto found = std::find_if(settings.rules.begin(), settings.rules.end(),
                                  [&](const auto& rule) { return rule.first == option; });
  return found == settings.rules.end() ? "unknown" : found->second;
}

void require_same_data_cursor(const RunSettings& saved, const RunSettings& now) {
  require_same("the program", saved.program, now.program);
  if (saved.data != now.data)
    fail(ErrorKind::bad_data,
         "--resume: the training data has changed: {} bytes (hash {:016x}), but the run was made with {} bytes (hash "
         "{:016x}); use the same data, or a new --out",
         now.data.bytes, now.data.hash, saved.data.bytes, saved.data.hash);
  require_same("a global batch of", saved.global_batch, now.global_batch);
  require_same("--seed", saved.seed, now.seed);
  require_same("--data-order", saved.data_order, now.data_order);
  require_same("--partial-window", saved.partial_window, now.partial_window);
  if (saved.dataset_size != now.dataset_size)
    fail(ErrorKind::usage,
         "--resume: the checkpoint was made with a number of training samples of {}, but this run has {}; --context "
         "and --validation-fraction decide it: use the same, or a new --out",
         saved.dataset_size, now.dataset_size);
}

std::vector<std::string> changed_rules(const RunSettings& saved, const RunSettings& now) {
  std::vector<std::string> lines;
  for (const auto& [option, value] : now.rules) {
    const std::string before = rule_of(saved, option);
    if (before != value)
      lines.push_back(fmt::format("resuming with a changed {}: {} → {}", option, printable(before), value));
  }
  // More steps are how a run is continued; a schedule that runs over all of them then takes another course.
  if (saved.steps != now.steps && rule_of(now, "--schedule") != "constant")
    lines.push_back(fmt::format("resuming with {} updates instead of {}: the {} schedule is stretched over them",
                                now.steps, saved.steps, rule_of(now, "--schedule")));
  return lines;
}

}  // namespace accrue::train
