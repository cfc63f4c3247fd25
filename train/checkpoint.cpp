#include "train/checkpoint.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "train/json_value.h"
#include "train/mapped_file.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr int format_version = 1;

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!file) fail(ErrorKind::cannot_create, "{}: cannot be created; is the directory writable?", path.string());
  file << text;
  file.flush();
  if (!file) fail(ErrorKind::io, "{}: writing failed; is the disk full?", path.string());
}

nlohmann::json state_json(const RunSettings& settings, const std::string& optimizer, const Accumulator::State& state) {
  return {{"format_version", format_version},
          {"program", settings.program},
          {"seed", settings.seed},
          {"global_batch", settings.global_batch},
          {"data_order", settings.data_order},
          {"partial_window", settings.partial_window},
          {"dataset_size", settings.dataset_size},
          {"optimizer", optimizer},
          {"micro", state.micro},
          {"window", state.window},
          {"update", state.step.update},
          {"skipped", state.step.skipped},
          {"empty", state.step.empty},
          {"skipped_in_a_row", state.step.skipped_in_a_row},
          {"loss_scale", state.step.loss_scale}};
}

// A link that always points at a whole checkpoint: the new one replaces the old by rename.
void point_link(const fs::path& link, const fs::path& target) {
  std::error_code error;
  const fs::path fresh = link.string() + ".new";
  fs::remove(fresh, error);
  fs::create_symlink(target, fresh, error);
  if (!error) fs::rename(fresh, link, error);
  if (error)
    fail(ErrorKind::cannot_create, "{}: cannot be pointed at {}: {}", link.string(), target.string(), error.message());
}

template <class T>
T member(const nlohmann::json& json, const char* key, const fs::path& file) {
  if (const std::optional<T> value = json_value<T>(json, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or of the wrong type; is this a checkpoint of Accrue?", file.string(),
       key);
}

RunSettings saved_settings(const nlohmann::json& json, const fs::path& file) {
  return {.program = member<std::string>(json, "program", file),
          .seed = member<std::uint64_t>(json, "seed", file),
          .global_batch = member<std::int64_t>(json, "global_batch", file),
          .data_order = member<std::string>(json, "data_order", file),
          .partial_window = member<std::string>(json, "partial_window", file),
          .dataset_size = member<std::int64_t>(json, "dataset_size", file)};
}

// window = update + skipped + empty (contract 5), in an order that cannot overflow.
bool consistent(const Accumulator::State& state) {
  const kernels::StepState& step = state.step;
  return state.micro >= 0 && step.update >= 0 && step.skipped >= 0 && step.empty >= 0 && step.update <= state.window &&
         step.skipped <= state.window - step.update && step.empty == state.window - step.update - step.skipped &&
         step.skipped_in_a_row >= 0 && step.skipped_in_a_row <= step.skipped;
}

Accumulator::State saved_state(const nlohmann::json& json, const fs::path& file) {
  Accumulator::State state{.micro = member<std::int64_t>(json, "micro", file),
                           .window = member<std::int64_t>(json, "window", file)};
  state.step.update = member<std::int64_t>(json, "update", file);
  state.step.skipped = member<std::int64_t>(json, "skipped", file);
  state.step.empty = member<std::int64_t>(json, "empty", file);
  state.step.skipped_in_a_row = member<std::int64_t>(json, "skipped_in_a_row", file);
  state.step.loss_scale = member<float>(json, "loss_scale", file);
  if (!consistent(state))
    fail(ErrorKind::bad_data, "{}: the counters contradict each other; the file is damaged", file.string());
  if (!(state.step.loss_scale > 0 && std::isfinite(state.step.loss_scale)))
    fail(ErrorKind::bad_data, "{}: loss_scale is {}, but must be positive; the file is damaged", file.string(),
         state.step.loss_scale);
  return state;
}

template <class T>
void require_same(const char* option, const T& saved, const T& now) {
  if (saved != now)
    fail(ErrorKind::usage,
         "--resume: the checkpoint was made with {} {}, but this run has {}; use the same, or a new --out", option,
         saved, now);
}

void require_same_settings(const RunSettings& saved, const RunSettings& now) {
  require_same("the program", saved.program, now.program);
  require_same("a global batch of", saved.global_batch, now.global_batch);
  require_same("--seed", saved.seed, now.seed);
  require_same("--data-order", saved.data_order, now.data_order);
  require_same("--partial-window", saved.partial_window, now.partial_window);
  require_same("a number of training samples of", saved.dataset_size, now.dataset_size);
}

}  // namespace

void make_run_directory(const fs::path& run) {
  std::error_code error;
  fs::create_directories(run / "checkpoints", error);
  if (error) fail(ErrorKind::cannot_create, "--out {}: cannot be created: {}", run.string(), error.message());
}

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
  write_text(temporary / "config.json", config.dump(2) + "\n");
  write_text(temporary / "state.json", state_json(settings, optimizer.name(), state).dump(2) + "\n");

  fs::remove_all(final_directory, error);
  fs::rename(temporary, final_directory, error);
  if (error) fail(ErrorKind::io, "{}: cannot be renamed: {}", temporary.string(), error.message());
  point_link(run / "latest", fs::path("checkpoints") / name);
  // So that the run directory itself loads as a model, in Accrue and in Transformers.
  point_link(run / "model.safetensors", "latest/model.safetensors");
  point_link(run / "config.json", "latest/config.json");
}

fs::path find_checkpoint(const fs::path& path) {
  std::error_code error;
  for (const fs::path& candidate : {path / "latest", path}) {
    if (fs::exists(candidate / "state.json", error)) return candidate;
  }
  fail(ErrorKind::no_input, "{}: no checkpoint here; a training run with --out {} makes one", path.string(),
       path.string());
}

void resume_checkpoint(const fs::path& checkpoint, const RunSettings& settings, const ParameterStore& parameters,
                       optim::Optimizer& optimizer, Accumulator& accumulator) {
  const fs::path file = checkpoint / "state.json";
  const nlohmann::json json = read_json(file);
  const int version = member<int>(json, "format_version", file);
  if (version != format_version)
    fail(ErrorKind::bad_data, "{}: format version {}, but this Accrue reads version {}", file.string(), version,
         format_version);
  require_same_settings(saved_settings(json, file), settings);
  require_same("the optimizer", member<std::string>(json, "optimizer", file), optimizer.name());
  const Accumulator::State state = saved_state(json, file);
  // Both files are checked before either overwrites anything.
  const FittingTensors weights(checkpoint / "model.safetensors", parameter_tensors(parameters));
  const FittingTensors buffers(checkpoint / "optimizer.safetensors", optimizer_tensors(parameters, optimizer));
  weights.load();
  buffers.load();
  accumulator.restore(state);
}

void load_weights(const fs::path& checkpoint, const ParameterStore& parameters) {
  FittingTensors(checkpoint / "model.safetensors", parameter_tensors(parameters)).load();
}

nlohmann::json read_json(const fs::path& path) {
  const MappedFile file(path);
  const nlohmann::json json = nlohmann::json::parse(file.bytes().begin(), file.bytes().end(), nullptr, false);
  if (json.is_discarded() || !json.is_object())
    fail(ErrorKind::bad_data, "{}: not a JSON object; the file is damaged or not one of Accrue's", path.string());
  return json;
}

}  // namespace accrue::train
