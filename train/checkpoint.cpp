#include "train/checkpoint.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <system_error>

#include "train/atomic_file.h"
#include "train/json_value.h"
#include "train/run_directory.h"
#include "train/safetensors.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr int format_version = 3;

nlohmann::json state_json(const RunSettings& settings, const std::string& optimizer, const Accumulator::State& state) {
  nlohmann::json json{{"format_version", format_version},
                      {"optimizer", optimizer},
                      {"micro", state.micro},
                      {"window", state.window},
                      {"update", state.step.update},
                      {"skipped", state.step.skipped},
                      {"empty", state.step.empty},
                      {"replayed", state.step.replayed},
                      {"loss_scaling", state.dynamic_scaling ? "dynamic" : "static"},
                      {"loss_scale", state.step.loss_scale},
                      {"clean_windows", state.step.clean_windows}};
  write_settings(json, settings);
  return json;
}

// window = update + skipped + empty (contract 5), in an order that cannot overflow.
bool consistent(const Accumulator::State& state) {
  const kernels::StepState& step = state.step;
  return state.micro >= 0 && step.update >= 0 && step.skipped >= 0 && step.empty >= 0 && step.update <= state.window &&
         step.skipped <= state.window - step.update && step.empty == state.window - step.update - step.skipped &&
         step.replayed >= 0 && step.clean_windows >= 0 && step.clean_windows <= step.update;
}

bool saved_scaling(const nlohmann::json& json, const fs::path& file) {
  const auto scaling = json_member<std::string>(json, "loss_scaling", file);
  if (scaling != "dynamic" && scaling != "static")
    fail(ErrorKind::bad_data, "{}: loss_scaling is '{}', but must be dynamic or static; the file is damaged",
         file.string(), scaling);
  return scaling == "dynamic";
}

Accumulator::State saved_state(const nlohmann::json& json, const fs::path& file) {
  Accumulator::State state{.micro = json_member<std::int64_t>(json, "micro", file),
                           .window = json_member<std::int64_t>(json, "window", file),
                           .dynamic_scaling = saved_scaling(json, file)};
  state.step.update = json_member<std::int64_t>(json, "update", file);
  state.step.skipped = json_member<std::int64_t>(json, "skipped", file);
  state.step.empty = json_member<std::int64_t>(json, "empty", file);
  state.step.replayed = json_member<std::int64_t>(json, "replayed", file);
  state.step.loss_scale = json_member<float>(json, "loss_scale", file);
  state.step.clean_windows = json_member<std::int64_t>(json, "clean_windows", file);
  if (!consistent(state))
    fail(ErrorKind::bad_data, "{}: the counters contradict each other; the file is damaged", file.string());
  constexpr kernels::LossScaling bounds;
  const float scale = state.step.loss_scale;
  if (!kernels::is_power_of_two(scale) || (state.dynamic_scaling && (scale < bounds.minimum || scale > bounds.maximum)))
    fail(ErrorKind::bad_data, "{}: loss_scale is {}, but must be a power of two{}; the file is damaged", file.string(),
         scale, state.dynamic_scaling ? fmt::format(" in [{}, {}]", bounds.minimum, bounds.maximum) : std::string());
  return state;
}

// All that state.json says.
struct SavedState {
  RunSettings settings;
  std::string optimizer;
  Accumulator::State state;
};

SavedState read_state(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "state.json";
  const nlohmann::json json = read_json(file);
  const int version = json_member<int>(json, "format_version", file);
  if (version != format_version)
    throw OtherFormat(ErrorKind::bad_data, fmt::format("{}: format version {}, but this Accrue reads version {}",
                                                       file.string(), version, format_version));
  return {.settings = read_settings(json, file),
          .optimizer = json_member<std::string>(json, "optimizer", file),
          .state = saved_state(json, file)};
}

// Replaces a directory by a new one. Between the two renames a reader finds neither, and after a crash there
// find_resume_point() finds the old one under its other name; the directory that is there is never half of one.
void replace_directory(const fs::path& fresh, const fs::path& target) {
  std::error_code error;
  const fs::path old = target.string() + ".old";
  fs::remove_all(old, error);
  fs::rename(target, old, error);
  fs::rename(fresh, target, error);
  if (error) fail(ErrorKind::io, "{}: cannot be renamed: {}", fresh.string(), error.message());
  fs::remove_all(old, error);
}

}  // namespace

void save_checkpoint(const fs::path& run, const RunSettings& settings, const nlohmann::json& config,
                     const ParameterStore& parameters, optim::Optimizer& optimizer, const Accumulator& accumulator) {
  const Accumulator::State state = accumulator.state();
  const std::string name = fmt::format("update-{:08}", state.step.update);
  const fs::path final_directory = run / "checkpoints" / name, temporary = run / "checkpoints" / (name + ".tmp");
  std::error_code error;
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) fail(ErrorKind::cannot_create, "{}: cannot be created: {}", temporary.string(), error.message());

  write_tensors(temporary / "model.safetensors", parameter_tensors(parameters));
  write_tensors(temporary / "optimizer.safetensors", optimizer_tensors(parameters, optimizer));
  write_text_atomically(temporary / "config.json", config.dump(2) + "\n");
  write_text_atomically(temporary / "state.json", state_json(settings, optimizer.name(), state).dump(2) + "\n");
  replace_directory(temporary, final_directory);
  point_links(run, name);
}

fs::path find_checkpoint(const fs::path& path) {
  std::error_code error;
  for (const fs::path& candidate : {path / "latest", path}) {
    if (fs::exists(candidate / "state.json", error)) return candidate;
  }
  fail(ErrorKind::no_input, "{}: no checkpoint here; a training run with --out {} makes one", path.string(),
       path.string());
}

void require_readable_checkpoint(const fs::path& checkpoint) {
  read_state(checkpoint);
  read_json(checkpoint / "config.json");
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) SafetensorsFile(checkpoint / name);
}

RunSettings resume_checkpoint(const fs::path& checkpoint, const RunSettings& settings, const ParameterStore& parameters,
                              optim::Optimizer& optimizer, Accumulator& accumulator) {
  const SavedState saved = read_state(checkpoint);
  require_same_data_cursor(saved.settings, settings);
  if (saved.optimizer != optimizer.name())
    fail(ErrorKind::usage, "--resume: the checkpoint was made with the optimizer {}, but this run has {}",
         saved.optimizer, optimizer.name());
  // Both files are checked before either overwrites anything.
  const FittingTensors weights(checkpoint / "model.safetensors", parameter_tensors(parameters));
  const FittingTensors buffers(checkpoint / "optimizer.safetensors", optimizer_tensors(parameters, optimizer));
  weights.load();
  refresh_compute_copy(parameters);
  buffers.load();
  accumulator.restore(saved.state);
  return saved.settings;
}

void load_weights(const fs::path& checkpoint, const ParameterStore& parameters) {
  FittingTensors(checkpoint / "model.safetensors", parameter_tensors(parameters)).load();
  refresh_compute_copy(parameters);
}

}  // namespace accrue::train
