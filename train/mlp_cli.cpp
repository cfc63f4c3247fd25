#include "train/mlp_cli.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "train/checkpoint.h"
#include "train/run_directory.h"

namespace accrue::train {

namespace fs = std::filesystem;

constexpr std::int64_t classes = 10;  // of MNIST and Fashion-MNIST

MlpTrainOptions::MlpTrainOptions() {
  run.learning_rate = 1e-3;
  run.schedule = "linear";
  run.beta2 = 0.999;
  run.weight_decay = 0.01;
  run.log_every = 100;
}

CLI::App* add_mlp_train(CLI::App& app, MlpTrainOptions& o) {
  CLI::App* train = app.add_subcommand("train", "Train on a directory of IDX files (MNIST, Fashion-MNIST)");
  require_path(train->add_option("--data", o.data, "Directory with train-images-idx3-ubyte[.gz] and its companions")
                   ->required()
                   ->group("Run"));
  require_at_least(
      train->add_option("--epochs", o.epochs, "Passes over the training images")->capture_default_str()->group("Run"),
      1);
  train->add_option("--hidden", o.hidden, "Widths of the hidden layers")
      ->delimiter(',')
      ->capture_default_str()
      ->group("Model");
  require_finite(train->add_option("--dropout", o.dropout, "Dropout probability [0]")->group("Model"), 0, 0.999);
  add_training_options(*train, o.run);
  return train;
}

CLI::App* add_mlp_eval(CLI::App& app, MlpEvalOptions& o) {
  CLI::App* eval = app.add_subcommand("eval", "Accuracy and mean loss on the test images");
  require_path(eval->add_option("--checkpoint", o.checkpoint, "Run or checkpoint directory")->required());
  require_path(
      eval->add_option("--data", o.data, "Directory with t10k-images-idx3-ubyte[.gz] and its companion")->required());
  require_at_least(eval->add_option("--micro-batch", o.micro_batch, "Samples in memory at once")->capture_default_str(),
                   1);
  eval->add_flag("--json", o.json, R"(Print {"accuracy": …, "loss": …, "targets": …})");
  add_machine_options(*eval, o.machine);
  return eval;
}

nlohmann::json mlp_config_json(const MlpConfig& config) {
  return {{"model_type", "accrue-mlp"},
          {"widths", config.widths},
          {"dropout", config.dropout},
          {"pixel_mean", config.moments.mean},
          {"pixel_deviation", config.moments.deviation}};
}

MlpConfig read_mlp_config(const fs::path& path) {
  const nlohmann::json json = read_json(path);
  MlpConfig config;
  try {
    if (json.at("model_type") != "accrue-mlp")
      fail(ErrorKind::bad_data, "{}: not the configuration of an MLP", path.string());
    config = {
        .widths = json.at("widths").get<std::vector<std::int64_t>>(),
        .dropout = json.at("dropout").get<float>(),
        .moments = {.mean = json.at("pixel_mean").get<float>(), .deviation = json.at("pixel_deviation").get<float>()}};
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::bad_data, "{}: {}; the file is damaged", path.string(), error.what());
  }
  bool valid = config.widths.size() >= 2 && config.widths.back() == classes && std::isfinite(config.moments.mean) &&
               config.moments.deviation > 0 && config.dropout >= 0 && config.dropout < 1;
  for (const std::int64_t width : config.widths) valid = valid && width >= 1 && width <= (1 << 20);
  if (!valid)
    fail(ErrorKind::bad_data, "{}: impossible widths, dropout or pixel moments; the file is damaged", path.string());
  return config;
}

MlpConfig mlp_config(const MlpTrainOptions& options, const LabelledImages& images,
                     const std::optional<ResumePoint>& resume) {
  for (const std::int64_t width : options.hidden) {
    if (width < 1 || width > (1 << 20))
      fail(ErrorKind::usage, "--hidden: every width must be in [1, {}], but one is {}", 1 << 20, width);
  }
  MlpConfig config{.widths = {images.rows * images.columns},
                   .dropout = options.dropout.value_or(0.0f),
                   .moments = ImageDataset::moments_of(images)};
  config.widths.insert(config.widths.end(), options.hidden.begin(), options.hidden.end());
  config.widths.push_back(classes);
  if (!resume) return config;
  const fs::path file = resume->checkpoint / "config.json";
  MlpConfig saved = read_mlp_config(file);
  if (saved.widths != config.widths)
    fail(ErrorKind::bad_data,
         "--resume: the checkpoint's layers are {}, but the data and --hidden give {}; use the same --hidden, or a new "
         "--out",
         Shape(saved.widths), Shape(config.widths));
  saved.dropout = options.dropout.value_or(saved.dropout);
  return saved;
}

std::int64_t updates_of_epochs(std::int64_t epochs, std::int64_t dataset_size, const BatchPlan& batch,
                               PartialWindow partial) {
  std::int64_t samples = 0;
  if (__builtin_mul_overflow(epochs, dataset_size, &samples) ||
      samples > std::numeric_limits<std::int64_t>::max() - batch.global)
    fail(ErrorKind::usage, "--epochs {} of {} images are more than can be counted", epochs, dataset_size);
  // With `carry` epochs share windows: the last update is the one that has seen every sample of every epoch.
  if (partial == PartialWindow::carry) return (samples + batch.global - 1) / batch.global;
  return epochs * WindowPlan(dataset_size, batch.global, partial).windows_per_epoch();
}

}  // namespace accrue::train
