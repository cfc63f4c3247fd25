// The MLP demo: image classification with gradient accumulation.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/checkpoint.h"
#include "train/cli.h"
#include "train/json_lines.h"
#include "train/memory_advice.h"
#include "train/mlp_cli.h"
#include "train/run.h"

namespace {

using namespace accrue;
using namespace accrue::train;

nn::Loss classification_loss(const nn::Mlp& model, Tape& tape, const Batch& batch) {
  return nn::cross_entropy(tape, model.forward(tape, batch.inputs), batch.targets);
}

ImageDataset test_images(const std::string& folder, const MlpConfig& config) {
  ImageDataset test(load_labelled_images(folder, "t10k"), config.moments);
  if (test.pixels() != config.widths.front())
    fail(ErrorKind::bad_data, "{}: test images of {} pixels, but the model takes {}", folder, test.pixels(),
         config.widths.front());
  return test;
}

void run_training(MlpTrainOptions& options) {
  const Machine machine = use_machine(options.run.machine);
  const BatchPlan batch = batch_plan(options.run, 128);

  LabelledImages images = load_labelled_images(options.data, "train");
  RunStart start(options.run.out, options.run.resume);
  const MlpConfig config = mlp_config(options, images, start.point());
  const DataIdentity identity = DataIdentity().add(images.pixels).add(images.labels);
  const ImageDataset data(std::move(images), config.moments);
  const ImageDataset test = test_images(options.data, config);
  options.run.steps = updates_of_epochs(options.epochs, data.size(), batch, partial_window(options.run));

  nn::Mlp model(config.widths, config.dropout);
  ParameterStore parameters;
  nn::initialize(model, parameters, options.run.seed, machine.device, machine.compute,
                 accumulate_dtype(options.run.scaling));

  optim::AdamW optimizer(parameters, adamw_options(options.run));
  Accumulator accumulator(parameters, optimizer, accumulator_options(options.run, batch, machine));
  const auto loss = [&](Tape& tape, const Batch& b) { return classification_loss(model, tape, b); };
  Trainer trainer(accumulator, loss, data, &test, trainer_options(options.run, batch), machine.device);

  Run run(options.run,
          {.program = "mlp",
           .config = mlp_config_json(config),
           .data = data,
           .identity = identity,
           .batch = batch,
           .dropout = config.dropout},
          std::move(start));
  run.resume(parameters, optimizer, accumulator, trainer);
  run.announce(fmt::format("MLP [{}]: {} parameters, {} images, {} updates", fmt::join(config.widths, ", "),
                           parameters.parameter_count(), data.size(), options.run.steps));
  const FittingSearch search{.accumulator = accumulator,
                             .loss = loss,
                             .data = data,
                             .validation = &test,
                             .device = machine.device,
                             .batch = batch,
                             .ragged = options.run.ragged,
                             .partial = partial_window(options.run)};
  run_within_memory(search, parse_normalisation(options.run.normalisation), memory_savings(options.run, machine, ""),
                    [&] { run.train(trainer, parameters, optimizer, accumulator); });

  const auto logits = [&](Tape& tape, const Tensor& x) { return model.forward(tape, x); };
  // In batches no larger than those that have been there: what was trained must not fail here for want of memory.
  run.console().print("test accuracy {:.2f} %\n",
                      100 * accuracy(logits, test, std::min<std::int64_t>(500, batch.micro), machine.device));
}

void run_evaluation(const MlpEvalOptions& options) {
  const Machine machine = use_machine(options.machine);
  const std::filesystem::path checkpoint = find_checkpoint(options.checkpoint);
  const MlpConfig config = mlp_config_of_checkpoint(checkpoint);
  nn::Mlp model(config.widths, config.dropout);
  ParameterStore parameters;
  nn::initialize(model, parameters, 0, machine.device, machine.compute);
  load_weights(checkpoint, parameters);

  const ImageDataset test = test_images(options.data, config);
  const auto loss = [&](Tape& tape, const Batch& b) { return classification_loss(model, tape, b); };
  const auto logits = [&](Tape& tape, const Tensor& x) { return model.forward(tape, x); };
  const Evaluation result = evaluate(loss, test, options.micro_batch, machine.device);
  const double correct = accuracy(logits, test, options.micro_batch, machine.device);
  if (options.json) {
    fmt::print(
        "{}\n",
        nlohmann::json{{"accuracy", correct}, {"loss", json_number(result.loss)}, {"targets", result.targets}}.dump());
  } else {
    fmt::print("test accuracy {:.2f} %, loss {:.6f} over {} images\n", 100 * correct, result.loss, result.targets);
  }
  require_finite(result);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Train and evaluate multi-layer perceptrons with gradient accumulation", "mlp");
  app.require_subcommand(1);
  MlpTrainOptions train_options;
  MlpEvalOptions eval_options;
  add_mlp_train(app, train_options)->callback([&] { run_training(train_options); });
  add_mlp_eval(app, eval_options)->callback([&] { run_evaluation(eval_options); });
  return run_program(app, argc, argv);
}
