#include "train/mlp_cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <limits>

#include "core/check.h"
#include "train/run_directory.h"

namespace accrue::train {

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

MlpConfig mlp_config(const MlpTrainOptions& options, const LabelledImages& images,
                     const std::optional<ResumePoint>& resume) {
  for (const std::int64_t width : options.hidden) {
    if (width < 1 || width > largest_mlp_width)
      fail(ErrorKind::usage, "--hidden: every width must be in [1, {}], but one is {}", largest_mlp_width, width);
  }
  if (options.hidden.size() > most_mlp_widths - 2)
    fail(ErrorKind::usage, "--hidden: at most {} layers, but there are {}", most_mlp_widths - 2, options.hidden.size());
  MlpConfig config{.widths = {images.rows * images.columns},
                   .dropout = options.dropout.value_or(0.0f),
                   .moments = ImageDataset::moments_of(images)};
  config.widths.insert(config.widths.end(), options.hidden.begin(), options.hidden.end());
  config.widths.push_back(mlp_classes);
  if (!resume) return config;
  MlpConfig saved = mlp_config_of_checkpoint(resume->checkpoint);
  if (saved.widths != config.widths)
    fail(ErrorKind::bad_data,
         "--resume: the checkpoint's layers are [{}], but the data and --hidden give [{}]; use the same --hidden, or a "
         "new --out",
         fmt::join(saved.widths, ", "), fmt::join(config.widths, ", "));
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
