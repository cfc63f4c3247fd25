// The GPT demo, and a tour of the library: train, evaluate, sample, verify, audit, plot.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>

#include "train/audit.h"
#include "train/audit_report.h"
#include "train/cli.h"
#include "train/gpt_cli.h"
#include "train/gpt_files.h"
#include "train/json_lines.h"
#include "train/loss_curve.h"
#include "train/memory_advice.h"
#include "train/printable.h"
#include "train/run.h"
#include "train/sample.h"
#include "train/verify.h"

namespace {

using namespace accrue;
using namespace accrue::train;

void run_training(const GptTrainOptions& options) {
  const Machine machine = use_machine(options.run.machine);
  const BatchPlan batch = batch_plan(options.run, 12);

  // Data: bytes are tokens, the tail of the text is kept for validation.
  const TokenFile text(options.text);
  RunStart start(options.run.out, options.run.resume);
  const GptData data = make_gpt_data(text, options, start.point());

  // Model: parameters live in a few flat buffers, named as Hugging Face names them.
  nn::Gpt model(data.model);
  ParameterStore parameters;
  nn::initialize(model, parameters, options.run.seed, machine.device, machine.compute,
                 accumulate_dtype(options.run.scaling));
  if (!options.weights.empty() && !start.point()) load_gpt_weights(options.weights, parameters);

  // Accumulation: `batch.accumulation` micro-batches make one update, that of the whole batch.
  optim::AdamW optimizer(parameters, adamw_options(options.run));
  Accumulator accumulator(parameters, optimizer, accumulator_options(options.run, batch, machine));
  const auto loss = [&](Tape& tape, const Batch& b) { return model.loss(tape, b.inputs, b.targets); };
  Trainer trainer(accumulator, loss, data.train, data.validation_or_null(), trainer_options(options.run, batch),
                  machine.device);

  // Output: a line of progress, metrics.jsonl, checkpoints; --resume picks up where the last one stood.
  Run run(options.run,
          {.program = "gpt",
           .config = gpt_config_json(data.model),
           .data = data.train,
           .identity = text.identity(),
           .batch = batch,
           .dropout = data.model.dropout},
          std::move(start));
  run.resume(parameters, optimizer, accumulator, trainer);
  run.announce(fmt::format("GPT {} layers, {} heads, width {}, context {}: {} parameters", data.model.layers,
                           data.model.heads, data.model.width, data.model.context, parameters.parameter_count()));
  const FittingSearch search{.accumulator = accumulator,
                             .loss = loss,
                             .data = data.train,
                             .validation = data.validation_or_null(),
                             .device = machine.device,
                             .batch = batch,
                             .ragged = options.run.ragged,
                             .partial = partial_window(options.run)};
  run_within_memory(search, parse_normalisation(options.run.normalisation),
                    memory_savings(options.run, machine, data.model.recompute ? "" : "--recompute"),
                    [&] { run.train(trainer, parameters, optimizer, accumulator); });
}

void run_evaluation(const GptEvalOptions& options) {
  const Machine machine = use_machine(options.machine);
  const LoadedGpt gpt(options.source, machine);
  const TokenFile text(options.text);
  text.require_vocabulary(gpt.model().config().vocabulary);
  const TextDataset data(TokenSamples(text.tokens(), gpt.model().config().context, text.name()));
  const auto loss = [&](Tape& tape, const Batch& b) { return gpt.model().loss(tape, b.inputs, b.targets); };
  const Evaluation result = evaluate(loss, data, options.micro_batch, machine.device);
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"loss", json_number(result.loss)}, {"targets", result.targets}}.dump());
  } else {
    fmt::print("loss {:.6f} over {} targets (perplexity {:.3f})\n", result.loss, result.targets, std::exp(result.loss));
  }
  require_finite(result);
}

void run_sampling(const GptSampleOptions& options) {
  const Machine machine = use_machine(options.machine);
  const LoadedGpt gpt(options.source, machine);
  // What a model from somewhere writes is as hostile as its file may be. Who reads it through a pipe gets it as it is.
  TerminalText shown;
  const bool to_terminal = isatty(STDOUT_FILENO) != 0;
  std::fputs(options.prompt.c_str(), stdout);
  generate(gpt.model(), options.prompt, options.sampling, machine.device, [&](std::string_view text) {
    const std::string harmless = to_terminal ? shown.harmless(text) : std::string(text);
    std::fwrite(harmless.data(), 1, harmless.size(), stdout);
    std::fflush(stdout);
  });
  std::fputc('\n', stdout);
}

void run_verification(const GptVerifyOptions& options) {
  const Machine machine = use_machine(options.machine);
  const std::vector<Split> splits = parse_splits(options.splits);
  const nn::GptConfig model = gpt_config(options.model);
  const TextOrRandomSamples samples(options.text, splits.front().samples(), model, options.seed);
  print_verification(verify_splits(samples, splits,
                                   {.model = model,
                                    .seed = options.seed,
                                    .device = machine.device,
                                    .unequal_targets = !options.equal_targets,
                                    .normalisation = parse_normalisation(options.normalisation)}));
}

void print_audit(const GptAudit& audit, const std::string& precision) {
  const auto make = std::bind_front(&GptAudit::make_model, &audit);
  AuditOptions options = audit.options();
  options.on_row = [](const AuditRow& row) {
    fmt::print("{}", audit_line(row));
    std::fflush(stdout);
  };
  const std::int64_t size = audit.samples().size(), needed = options.micro_batch * options.accumulations.back();
  fmt::print("Relative error of the gradient of K micro-batches of {}, against their sum in fp64{}:\n\n{}",
             options.micro_batch == 1 ? "1 sample" : fmt::format("{} samples", options.micro_batch),
             size < needed ? fmt::format(" (the text's {} samples repeat)", size) : "", audit_heading(precision));
  const std::vector<AuditRow> rows = audit_accumulation(make, audit.samples(), options);
  fmt::print("\n{}\n{}", draw_audit(rows, precision, locale_is_utf8()), audit_conclusion(rows, precision));
}

void run_audit(const GptAuditOptions& options) {
  const Machine machine = use_machine(options.machine);
  const GptAudit audit(options, machine);
  const std::string& precision = options.machine.precision;
  if (!options.json) return print_audit(audit, precision);
  const auto rows =
      audit_accumulation(std::bind_front(&GptAudit::make_model, &audit), audit.samples(), audit.options());
  fmt::print("{}\n", audit_json(rows, audit.options(), precision).dump());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Train, evaluate and sample GPT-2 models with gradient accumulation", "gpt");
  app.require_subcommand(1);
  GptTrainOptions train_options;
  GptEvalOptions eval_options;
  GptSampleOptions sample_options;
  GptVerifyOptions verify_options;
  GptAuditOptions audit_options;
  std::string metrics;
  add_gpt_train(app, train_options)->callback([&] { run_training(train_options); });
  add_gpt_eval(app, eval_options)->callback([&] { run_evaluation(eval_options); });
  add_gpt_sample(app, sample_options)->callback([&] { run_sampling(sample_options); });
  add_gpt_verify(app, verify_options)->callback([&] { run_verification(verify_options); });
  add_gpt_audit(app, audit_options)->callback([&] { run_audit(audit_options); });
  add_plot(app, metrics)->callback([&] {
    fmt::print("{}", draw_loss_curve(read_loss_curve(metrics), locale_is_utf8()));
  });
  return run_program(app, argc, argv);
}
