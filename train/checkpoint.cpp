#include "train/checkpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <vector>

#include "train/printable.h"
#include "train/run_directory.h"
#include "train/sealed_folder.h"
#include "train/weights_file.h"
#include "train/window_file.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* model_file = "model.safetensors";
constexpr const char* optimizer_file = "optimizer.safetensors";
constexpr const char* window_file = "window.safetensors";
constexpr const char* config_file = "config.json";
constexpr const char* state_file = "state.json";
constexpr const char* files_of_every_checkpoint[] = {state_file, config_file, model_file, optimizer_file};

CheckpointState read_state(const fs::path& checkpoint) {
  return state_from_json(read_json(checkpoint / state_file), checkpoint / state_file);
}

void write_tensor_file(SealedFolderWriter& folder, const char* name, const SafetensorsWriter& tensors) {
  folder.write(name, [&](const SealedFolderWriter::Sink& sink) { tensors.write(sink); });
}

void write_json(SealedFolderWriter& folder, const char* name, const nlohmann::json& json) {
  folder.write(name, json.dump(2) + "\n");
}

}  // namespace

std::string save_checkpoint(const fs::path& run, const CheckpointContent& content, std::int64_t keep) {
  require_free_links(run);
  const Accumulator::State state = content.accumulator.state();
  SealedFolderWriter folder(run / "checkpoints");
  write_tensor_file(folder, model_file, writer_of(parameter_tensors(content.parameters)));
  write_tensor_file(folder, optimizer_file, writer_of(optimizer_tensors(content.parameters, content.optimizer)));
  if (state.micro_in_window > 0) {
    SafetensorsWriter window;
    add_window(window, content.parameters, state.step);
    write_tensor_file(folder, window_file, window);
  }
  write_json(folder, config_file, content.config);
  write_json(folder, state_file,
             state_to_json({.settings = content.settings,
                            .optimizer = content.optimizer.name(),
                            .accumulator = state,
                            .trainer = content.trainer}));
  const std::string name = new_checkpoint_name(run, state.step.update);
  folder.publish(name);
  point_links(run, name);
  return keep > 0 ? prune_checkpoints(run, keep) : std::string();
}

std::string damage_of_checkpoint(const fs::path& checkpoint) {
  std::vector<const char*> required(std::begin(files_of_every_checkpoint), std::end(files_of_every_checkpoint));
  std::error_code error;
  if (fs::exists(checkpoint / window_file, error)) required.push_back(window_file);
  return damage_of_folder(checkpoint, required);
}

namespace {

// What DIR/latest leads to at this moment, or nothing where there is no such link: whoever followed the link file by
// file might get those of two checkpoints.
fs::path latest_of(const fs::path& run) {
  std::error_code error;
  return fs::canonical(run / "latest", error);
}

}  // namespace

fs::path find_checkpoint(const fs::path& path) {
  std::error_code error;
  for (fs::path latest = latest_of(path); !latest.empty() && fs::exists(latest / state_file, error);) {
    const std::string damage = damage_of_checkpoint(latest);
    if (damage.empty()) return latest;
    // A training may have removed it meanwhile, as it had saved others.
    const fs::path newer = latest_of(path);
    if (newer == latest) fail(ErrorKind::bad_data, "{}; name an older checkpoint of the run's checkpoints/", damage);
    latest = newer;
  }
  if (!fs::exists(path / state_file, error))
    fail(ErrorKind::no_input, "{}: no checkpoint here; a training run with --out {} makes one", path.string(),
         path.string());
  if (const std::string damage = damage_of_checkpoint(path); !damage.empty())
    fail(ErrorKind::bad_data, "{}; name an older checkpoint of the run's checkpoints/", damage);
  return path;
}

void require_readable_checkpoint(const fs::path& checkpoint) {
  const CheckpointState state = read_state(checkpoint);
  read_json(checkpoint / config_file);
  for (const char* name : {model_file, optimizer_file}) SafetensorsFile(checkpoint / name);
  if (state.accumulator.micro_in_window > 0) SafetensorsFile(checkpoint / window_file);
}

ResumedCheckpoint resume_checkpoint(const fs::path& checkpoint, const RunSettings& settings,
                                    const ParameterStore& parameters, optim::Optimizer& optimizer,
                                    Accumulator& accumulator) {
  CheckpointState saved = read_state(checkpoint);
  require_same_data_cursor(saved.settings, settings);
  if (saved.optimizer != optimizer.name())
    fail(ErrorKind::usage, "--resume: the checkpoint was made with the optimizer {}, but this run has {}",
         printable(saved.optimizer), optimizer.name());
  // All files are checked before any of them overwrites anything.
  const FittingTensors weights(checkpoint / model_file, parameter_tensors(parameters));
  const FittingTensors buffers(checkpoint / optimizer_file, optimizer_tensors(parameters, optimizer));
  const bool inside_window = saved.accumulator.micro_in_window > 0;
  std::optional<WindowFile> window;
  if (inside_window && accumulator.continues(saved.accumulator)) window.emplace(checkpoint / window_file, parameters);
  weights.load();
  refresh_compute_copy(parameters);
  buffers.load();
  if (window) window->load(saved.accumulator.step);
  accumulator.restore(saved.accumulator);
  if (window) window->load(parameters);
  return {.settings = saved.settings,
          .trainer = saved.trainer,
          .window_starts_again = inside_window && !window.has_value()};
}

void load_weights(const fs::path& checkpoint, const ParameterStore& parameters) {
  FittingTensors(checkpoint / model_file, parameter_tensors(parameters)).load();
  refresh_compute_copy(parameters);
}

}  // namespace accrue::train
