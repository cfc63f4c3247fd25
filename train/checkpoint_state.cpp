#include "train/checkpoint_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "train/json_lines.h"
#include "train/json_value.h"
#include "train/printable.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t most_attempts = 64;  // at a window: each halves the loss scale, which is a float
constexpr std::pair<const char*, Outcome> outcome_names[] = {{"updated", Outcome::updated},
                                                             {"skipped", Outcome::skipped},
                                                             {"empty", Outcome::empty},
                                                             {"replayed", Outcome::replayed}};

const char* name_of_outcome(Outcome outcome) {
  for (const auto& [name, value] : outcome_names)
    if (value == outcome) return name;
  fail(ErrorKind::internal, "a window's outcome is {}", static_cast<int>(outcome));
}

Outcome outcome_from(const nlohmann::json& json, const fs::path& file) {
  const auto text = json_member<std::string>(json, "outcome", file);
  for (const auto& [name, value] : outcome_names)
    if (text == name) return value;
  fail(ErrorKind::bad_data, "{}: 'outcome' is none of a window's; the file is damaged", file.string());
}

// A member of an object that json_number() wrote.
double real_member(const nlohmann::json& json, const char* key, const fs::path& file) {
  if (const auto text = json_value<std::string>(json, key)) {
    if (*text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (*text == "Infinity") return std::numeric_limits<double>::infinity();
    if (*text == "-Infinity") return -std::numeric_limits<double>::infinity();
  }
  return json_member<double>(json, key, file);
}

// Far beyond what any run counts to, and far enough from the end of the type that a run can go on from there.
constexpr std::int64_t largest_count = std::int64_t{1} << 53;

std::int64_t count_member(const nlohmann::json& json, const char* key, const fs::path& file) {
  const auto count = json_member<std::int64_t>(json, key, file);
  if (count < 0 || count > largest_count)
    fail(ErrorKind::bad_data, "{}: '{}' is {}, but must be in [0, {}]; the file is damaged", file.string(), key, count,
         largest_count);
  return count;
}

// The objects below start empty and are filled member by member. Where memory runs out within a list of initial values,
// GCC 12 does not destroy those it has made already; where it runs out while a null becomes an object, nlohmann's
// destructor finds half of one.
nlohmann::json report_to_json(const WindowReport& report) {
  nlohmann::json json = nlohmann::json::object();
  json["outcome"] = name_of_outcome(report.outcome);
  json["window"] = report.window;
  json["update"] = report.update;
  json["micro_batches"] = report.micro_batches;
  json["samples"] = report.samples;
  json["targets"] = report.targets;
  json["loss"] = json_number(report.loss);
  json["grad_norm"] = json_number(report.grad_norm);
  json["learning_rate"] = json_number(report.learning_rate);
  json["loss_scale"] = json_number(report.loss_scale);
  json["next_loss_scale"] = json_number(report.next_loss_scale);
  json["seconds"] = json_number(report.seconds);
  json["timed_samples"] = report.timed_samples;
  if (report.overflow) {
    nlohmann::json& overflow = json["overflow"] = nlohmann::json::object();
    overflow["parameter"] = report.overflow->parameter;
    if (report.overflow->micro_batch) overflow["micro_batch"] = *report.overflow->micro_batch;
  }
  return json;
}

std::string name_member(const nlohmann::json& json, const char* key, const fs::path& file) {
  std::string name = json_member<std::string>(json, key, file);
  if (steers_a_terminal(name))
    fail(ErrorKind::bad_data, "{}: '{}' is '{}', which is no name; the file is damaged", file.string(), key,
         printable(name));
  return name;
}

Overflow overflow_from(const nlohmann::json& json, const fs::path& file) {
  Overflow overflow{.parameter = name_member(json, "parameter", file), .micro_batch = std::nullopt};
  if (json.contains("micro_batch")) overflow.micro_batch = count_member(json, "micro_batch", file);
  return overflow;
}

WindowReport report_from(const nlohmann::json& json, const fs::path& file) {
  if (!json.is_object())
    fail(ErrorKind::bad_data, "{}: a window's report is no object; the file is damaged", file.string());
  WindowReport report{.outcome = outcome_from(json, file),
                      .window = count_member(json, "window", file),
                      .update = count_member(json, "update", file),
                      .micro_batches = count_member(json, "micro_batches", file),
                      .samples = count_member(json, "samples", file),
                      .targets = count_member(json, "targets", file),
                      .loss = real_member(json, "loss", file),
                      .grad_norm = real_member(json, "grad_norm", file),
                      .learning_rate = real_member(json, "learning_rate", file),
                      .loss_scale = real_member(json, "loss_scale", file),
                      .next_loss_scale = real_member(json, "next_loss_scale", file),
                      .seconds = real_member(json, "seconds", file),
                      .timed_samples = count_member(json, "timed_samples", file),
                      .overflow = std::nullopt};
  if (json.contains("overflow")) report.overflow = overflow_from(json.at("overflow"), file);
  const bool overflowed = report.outcome == Outcome::skipped || report.outcome == Outcome::replayed;
  if (overflowed != report.overflow.has_value())
    fail(ErrorKind::bad_data, "{}: a window's report and its overflow contradict each other; the file is damaged",
         file.string());
  return report;
}

nlohmann::json trainer_to_json(const TrainerState& trainer) {
  nlohmann::json json = nlohmann::json::object();
  json["replayed"] = nlohmann::json::array();
  for (const WindowReport& attempt : trainer.replayed) json["replayed"].push_back(report_to_json(attempt));
  if (trainer.unlogged) json["unlogged"] = report_to_json(*trainer.unlogged);
  return json;
}

TrainerState trainer_from(const nlohmann::json& state, const fs::path& file) {
  const auto json = state.find("trainer");
  const bool valid = json != state.end() && json->is_object() && json->contains("replayed") &&
                     json->at("replayed").is_array() && json->at("replayed").size() <= most_attempts;
  if (!valid)
    fail(ErrorKind::bad_data, "{}: 'trainer' is missing or of the wrong type; is this a checkpoint of Accrue?",
         file.string());
  TrainerState trainer;
  for (const nlohmann::json& attempt : json->at("replayed")) trainer.replayed.push_back(report_from(attempt, file));
  if (json->contains("unlogged")) trainer.unlogged = report_from(json->at("unlogged"), file);
  return trainer;
}

// Of counts that are none too large to be added.
bool consistent(const Accumulator::State& state) {
  const kernels::StepState& step = state.step;
  return step.update + step.skipped + step.empty == state.window &&  // contract 5
         step.clean_windows <= step.update && state.micro_in_window <= state.micro &&
         (state.micro_in_window > 0 || state.samples_in_window == 0);
}

bool dynamic_scaling_from(const nlohmann::json& json, const fs::path& file) {
  const auto scaling = json_member<std::string>(json, "loss_scaling", file);
  if (scaling != "dynamic" && scaling != "static")
    fail(ErrorKind::bad_data, "{}: loss_scaling is '{}', but must be dynamic or static; the file is damaged",
         file.string(), printable(scaling));
  return scaling == "dynamic";
}

void open_window_from(const nlohmann::json& state, const fs::path& file, Accumulator::State& accumulator) {
  const auto json = state.find("open_window");
  if (json == state.end()) return;
  if (!json->is_object())
    fail(ErrorKind::bad_data, "{}: 'open_window' is no object; the file is damaged", file.string());
  accumulator.micro_in_window = count_member(*json, "micro_batches", file);
  accumulator.samples_in_window = count_member(*json, "samples", file);
  const auto normalisation = json_member<std::string>(*json, "normalisation", file),
             dtype = json_member<std::string>(*json, "accumulate_dtype", file);
  const bool valid = accumulator.micro_in_window > 0 &&
                     (normalisation == "targets" || normalisation == "micro-batches") &&
                     (dtype == name_of(DType::f32) || dtype == name_of(DType::bf16));
  if (!valid)
    fail(ErrorKind::bad_data, "{}: 'open_window' has an impossible value; the file is damaged", file.string());
  accumulator.normalisation =
      normalisation == "targets" ? Normalisation::targets : Normalisation::mean_over_micro_batches;
  accumulator.accumulate_dtype = dtype == name_of(DType::f32) ? DType::f32 : DType::bf16;
}

Accumulator::State accumulator_from(const nlohmann::json& json, const fs::path& file) {
  Accumulator::State state{.micro = count_member(json, "micro", file),
                           .window = count_member(json, "window", file),
                           .dynamic_scaling = dynamic_scaling_from(json, file)};
  state.step.update = count_member(json, "update", file);
  state.step.skipped = count_member(json, "skipped", file);
  state.step.empty = count_member(json, "empty", file);
  state.step.replayed = count_member(json, "replayed", file);
  state.step.loss_scale = json_member<float>(json, "loss_scale", file);
  state.step.clean_windows = count_member(json, "clean_windows", file);
  state.step.floor_overflows = count_member(json, "floor_overflows", file);
  open_window_from(json, file, state);
  if (!consistent(state))
    fail(ErrorKind::bad_data, "{}: the counters contradict each other; the file is damaged", file.string());
  constexpr kernels::LossScaling bounds;
  const float scale = state.step.loss_scale;
  if (!kernels::is_power_of_two(scale) || (state.dynamic_scaling && (scale < bounds.minimum || scale > bounds.maximum)))
    fail(ErrorKind::bad_data, "{}: loss_scale is {}, but must be a power of two{}; the file is damaged", file.string(),
         scale, state.dynamic_scaling ? fmt::format(" in [{}, {}]", bounds.minimum, bounds.maximum) : std::string());
  return state;
}

}  // namespace

nlohmann::json state_to_json(const CheckpointState& state) {
  const Accumulator::State& accumulator = state.accumulator;
  nlohmann::json json = nlohmann::json::object();
  json["format_version"] = checkpoint_format;
  json["optimizer"] = state.optimizer;
  json["micro"] = accumulator.micro;
  json["window"] = accumulator.window;
  json["update"] = accumulator.step.update;
  json["skipped"] = accumulator.step.skipped;
  json["empty"] = accumulator.step.empty;
  json["replayed"] = accumulator.step.replayed;
  json["loss_scaling"] = accumulator.dynamic_scaling ? "dynamic" : "static";
  json["loss_scale"] = accumulator.step.loss_scale;
  json["clean_windows"] = accumulator.step.clean_windows;
  json["floor_overflows"] = accumulator.step.floor_overflows;
  json["trainer"] = trainer_to_json(state.trainer);
  if (accumulator.micro_in_window > 0) {
    nlohmann::json& window = json["open_window"] = nlohmann::json::object();
    window["micro_batches"] = accumulator.micro_in_window;
    window["samples"] = accumulator.samples_in_window;
    window["normalisation"] = accumulator.normalisation == Normalisation::targets ? "targets" : "micro-batches";
    window["accumulate_dtype"] = name_of(accumulator.accumulate_dtype);
  }
  write_settings(json, state.settings);
  return json;
}

CheckpointState state_from_json(const nlohmann::json& json, const fs::path& file) {
  const int version = json_member<int>(json, "format_version", file);
  if (version != checkpoint_format)
    throw OtherFormat(ErrorKind::bad_data, fmt::format("{}: format version {}, but this Accrue reads version {}",
                                                       file.string(), version, checkpoint_format));
  CheckpointState state{.settings = read_settings(json, file),
                        .optimizer = name_member(json, "optimizer", file),
                        .accumulator = accumulator_from(json, file),
                        .trainer = trainer_from(json, file)};
  // The position in the stream of samples must be a number that can be counted to.
  std::int64_t position = 0;
  if (state.settings.global_batch < 0 ||
      __builtin_mul_overflow(state.accumulator.window + 1, state.settings.global_batch, &position))
    fail(ErrorKind::bad_data, "{}: window {} of {} samples each is beyond what can be counted; the file is damaged",
         file.string(), state.accumulator.window, state.settings.global_batch);
  return state;
}

}  // namespace accrue::train
