#include "train/gpt_cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>

#include "core/format_bytes.h"
#include "core/rng.h"
#include "kernels/loss_scaling.h"
#include "train/checkpoint.h"
#include "train/gpt_files.h"
#include "train/run_directory.h"

namespace accrue::train {
namespace {

constexpr float largest_loss_scale = 0x1p24f;

void add_model_options(CLI::App& app, GptModelOptions& o) {
  const char* group = "Model";
  require_at_least(app.add_option("--layers", o.layers, "Transformer blocks [4]")->group(group), 1);
  require_at_least(app.add_option("--heads", o.heads, "Attention heads [4]")->group(group), 1,
                   std::numeric_limits<int>::max());
  require_at_least(app.add_option("--width", o.width, "Embedding width [128]")->group(group), 1);
  require_at_least(app.add_option("--context", o.context, "Tokens a sample [64]")->group(group), 1);
  require_at_least(
      app.add_option("--vocabulary,--vocab", o.vocabulary, "Tokens of the model [256: bytes]")->group(group), 1);
  require_finite(app.add_option("--dropout", o.dropout, "Dropout probability [0]")->group(group), 0, 0.999);
  app.add_flag("--recompute", o.recompute, "Keep only block inputs, compute the rest again in backward")->group(group);
}

void add_source_options(CLI::App& app, GptSource& source) {
  CLI::Option* checkpoint = app.add_option("--checkpoint", source.checkpoint, "Run or checkpoint directory");
  CLI::Option* weights = app.add_option("--weights", source.weights, "GPT-2 weights (safetensors, Hugging Face names)");
  CLI::Option* heads = app.add_option("--heads", source.heads, "Attention heads of --weights");
  require_path(checkpoint);
  require_path(weights);
  require_at_least(heads, 1, std::numeric_limits<int>::max());
  checkpoint->excludes(weights);
  weights->needs(heads);
  heads->needs(weights);
}

// The value that a file fixes, unless the user named another one.
template <class T>
void require_agreement(const char* option, const std::optional<T>& given, T fixed, const std::string& by) {
  if (given && *given != fixed)
    fail(ErrorKind::usage, "{} {} contradicts {}, which has {}; leave {} out", option, *given, by, fixed, option);
}

// The configuration that a file has, as far as the user agrees with it and where the user may choose.
nn::GptConfig agreed_config(const GptModelOptions& given, nn::GptConfig config, const std::string& source) {
  require_agreement("--heads", given.heads, config.heads, source);
  require_agreement("--layers", given.layers, config.layers, source);
  require_agreement("--width", given.width, config.width, source);
  require_agreement("--vocabulary", given.vocabulary, config.vocabulary, source);
  if (given.context && *given.context > config.context)
    fail(ErrorKind::usage, "--context {} is beyond {}, which has {} positions", *given.context, source, config.context);
  config.dropout = given.dropout.value_or(config.dropout);
  config.recompute = given.recompute;
  return config;
}

nn::GptConfig config_of_checkpoint(const GptModelOptions& given, const std::filesystem::path& checkpoint) {
  return agreed_config(given, gpt_config_of_checkpoint(checkpoint), checkpoint.string());
}

nn::GptConfig config_of_weights(const GptModelOptions& given, const std::string& weights) {
  if (!given.heads)
    fail(ErrorKind::usage, "--weights needs --heads: the file's shapes do not tell the number of heads");
  return agreed_config(given, gpt_config_of_weights(weights, *given.heads), weights);
}

nn::GptConfig training_config(const GptTrainOptions& options, const std::optional<ResumePoint>& resume) {
  if (resume) return config_of_checkpoint(options.model, resume->checkpoint);
  if (!options.weights.empty()) return config_of_weights(options.model, options.weights);
  return gpt_config(options.model);
}

void require_power_of_two(CLI::Option* option) {
  option->check([](const std::string& text) {
    float value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (number && kernels::is_power_of_two(value) && value >= 1 && value <= largest_loss_scale) return std::string();
    return fmt::format("must be a power of two in [1, {:.0f}] (so that unscaling is exact), but is '{}'",
                       largest_loss_scale, text);
  });
}

}  // namespace

CLI::App* add_gpt_train(CLI::App& app, GptTrainOptions& o) {
  CLI::App* train = app.add_subcommand("train", "Train on a text file");
  require_path(
      train->add_option("--text", o.text, "Text to learn; its bytes are the tokens")->required()->group("Run"));
  require_at_least(train->add_option("--steps", o.run.steps, "Updates of the whole run")->required()->group("Run"), 1);
  require_finite(train
                     ->add_option("--validation-fraction", o.validation_fraction,
                                  "Share of the text, at its end, kept for validation")
                     ->capture_default_str()
                     ->group("Run"),
                 0, 0.999);
  require_path(train
                   ->add_option("--weights", o.weights,
                                "Start from GPT-2 weights (safetensors, Hugging Face names); a resumed run "
                                "goes on with its own")
                   ->group("Model"));
  add_model_options(*train, o.model);
  add_training_options(*train, o.run);
  train->get_option("--evaluate-every")->needs(train->get_option("--validation-fraction"));
  return train;
}

CLI::App* add_gpt_eval(CLI::App& app, GptEvalOptions& o) {
  CLI::App* eval = app.add_subcommand("eval", "Mean loss over all sequential samples of a text");
  add_source_options(*eval, o.source);
  require_path(eval->add_option("--text", o.text, "Text to evaluate on")->required());
  require_at_least(eval->add_option("--micro-batch", o.micro_batch, "Samples in memory at once")->capture_default_str(),
                   1);
  eval->add_flag("--json", o.json, R"(Print {"loss": …, "targets": …})");
  add_machine_options(*eval, o.machine);
  return eval;
}

CLI::App* add_gpt_sample(CLI::App& app, GptSampleOptions& o) {
  CLI::App* sample = app.add_subcommand("sample", "Continue a prompt");
  add_source_options(*sample, o.source);
  sample->add_option("--prompt", o.prompt, "Text to continue")->required();
  require_at_least(sample->add_option("--tokens", o.sampling.tokens, "Tokens to generate")->capture_default_str(), 0);
  require_finite(sample->add_option("--temperature", o.sampling.temperature, "0: always the most likely token")
                     ->capture_default_str(),
                 0);
  require_at_least(sample->add_option("--top-k", o.sampling.top_k, "Choose among the k most likely tokens; 0: all")
                       ->capture_default_str(),
                   0);
  require_seed(sample->add_option("--seed", o.sampling.seed, "Seed of the choices")->capture_default_str());
  add_machine_options(*sample, o.machine);
  return sample;
}

CLI::App* add_gpt_verify(CLI::App& app, GptVerifyOptions& o) {
  CLI::App* verify = app.add_subcommand("verify", "Show that splitting a window into micro-batches changes nothing");
  verify->add_option("--splits", o.splits, "Splits of one window, MICROxACCUMULATION each")->capture_default_str();
  require_path(verify->add_option("--text", o.text, "Take the samples from this text [random tokens]"));
  verify->add_flag("--equal-targets", o.equal_targets,
                   "Do not mask targets (by default micro-batches get unequal counts)");
  require_one_of(verify
                     ->add_option("--normalisation", o.normalisation,
                                  "targets, or micro-batches to see how far averaging the micro-batches' means is off")
                     ->capture_default_str(),
                 {"targets", "micro-batches"});
  require_seed(
      verify->add_option("--seed", o.seed, "Seed of weights, random tokens and dropout")->capture_default_str());
  add_model_options(*verify, o.model);
  // Contract 12 is a statement about fp32.
  add_machine_options(*verify, o.machine, PrecisionOption::left_out);
  return verify;
}

CLI::App* add_gpt_audit(CLI::App& app, GptAuditOptions& o) {
  CLI::App* audit = app.add_subcommand("audit", "Measure what accumulating in fp32 and in bf16 costs a gradient");
  audit->add_option("--accumulations", o.accumulations, "Numbers of micro-batches to look at the gradient after")
      ->capture_default_str();
  require_at_least(audit->add_option("--micro-batch", o.micro_batch, "Samples of a micro-batch")->capture_default_str(),
                   1, 1'000'000);
  CLI::Option* checkpoint = audit->add_option("--checkpoint", o.checkpoint,
                                              "Run or checkpoint directory to take the weights from [new ones]");
  CLI::Option* weights =
      audit->add_option("--weights", o.weights, "GPT-2 weights (safetensors, Hugging Face names); needs --heads");
  require_path(checkpoint->excludes(weights));
  require_path(weights);
  require_path(audit->add_option("--text", o.text, "Take the samples from this text [random tokens]"));
  audit->add_flag("--equal-targets", o.equal_targets,
                  "Do not mask targets (by default micro-batches get unequal counts)");
  require_seed(
      audit->add_option("--seed", o.seed, "Seed of new weights, random tokens and dropout")->capture_default_str());
  require_power_of_two(audit->add_option("--loss-scale", o.loss_scale,
                                         "What gradients are multiplied by on their way, and divided by at its end, "
                                         "lest small ones vanish in half precision [1024 with fp16, else 1]"));
  audit->add_flag("--json", o.json, R"(Print {"rows": [{"accumulation": …, "fp32": {"error": …}, …}, …]})");
  add_model_options(*audit, o.model);
  add_machine_options(*audit, o.machine);
  return audit;
}

CLI::App* add_plot(CLI::App& app, std::string& metrics) {
  CLI::App* plot = app.add_subcommand("plot", "Draw the loss curve of a run in the terminal");
  require_path(plot->add_option("metrics", metrics, "A run's metrics.jsonl")->required());
  return plot;
}

nn::GptConfig gpt_config(const GptModelOptions& o) {
  const nn::GptConfig defaults;
  nn::GptConfig config{.vocabulary = o.vocabulary.value_or(defaults.vocabulary),
                       .context = o.context.value_or(defaults.context),
                       .layers = o.layers.value_or(defaults.layers),
                       .heads = o.heads.value_or(defaults.heads),
                       .width = o.width.value_or(defaults.width),
                       .dropout = o.dropout.value_or(0.0f),
                       .recompute = o.recompute};
  config.validate();
  return config;
}

GptData make_gpt_data(const TokenFile& text, const GptTrainOptions& options, const std::optional<ResumePoint>& resume) {
  const nn::GptConfig config = training_config(options, resume);
  text.require_vocabulary(config.vocabulary);
  const std::int64_t context = options.model.context.value_or(config.context);
  const TokenFile::Split parts = text.split(options.validation_fraction);
  GptData data{.model = config,
               .train = TextDataset(TokenSamples(parts.train, context, text.name())),
               .validation = std::nullopt};
  // Even if no byte is left for it, which is an error then and not a run without validation.
  if (options.validation_fraction > 0)
    data.validation.emplace(TokenSamples(parts.validation, context, text.name() + " (validation part)"));
  return data;
}

LoadedGpt::LoadedGpt(const GptSource& source, const Machine& machine) {
  if (source.checkpoint.empty() && source.weights.empty())
    fail(ErrorKind::usage, "give a model: --checkpoint DIR, or --weights FILE with --heads H");
  if (!source.weights.empty()) {
    model_ = std::make_unique<nn::Gpt>(gpt_config_of_weights(source.weights, source.heads.value()));
    nn::initialize(*model_, parameters_, 0, machine.device, machine.compute);
    load_gpt_weights(source.weights, parameters_);
  } else {
    const std::filesystem::path checkpoint = find_checkpoint(source.checkpoint);
    model_ = std::make_unique<nn::Gpt>(gpt_config_of_checkpoint(checkpoint));
    nn::initialize(*model_, parameters_, 0, machine.device, machine.compute);
    load_weights(checkpoint, parameters_);
  }
}

GptAudit::GptAudit(const GptAuditOptions& o, const Machine& machine) : weights_(o.weights) {
  if (!o.checkpoint.empty()) checkpoint_ = find_checkpoint(o.checkpoint).string();
  model_ = !checkpoint_.empty() ? config_of_checkpoint(o.model, checkpoint_)
           : !weights_.empty()  ? config_of_weights(o.model, weights_)
                                : gpt_config(o.model);
  options_ = {.accumulations = parse_accumulations(o.accumulations),
              .micro_batch = o.micro_batch,
              .seed = o.seed,
              .device = machine.device,
              .compute = machine.compute,
              .loss_scale = o.loss_scale.value_or(machine.compute == DType::f16 ? 1024.0f : 1.0f),
              .unequal_targets = !o.equal_targets};
  nn::GptConfig shown = model_;  // samples may be shorter than a trained model's context
  shown.context = o.model.context.value_or(model_.context);
  samples_ = std::make_unique<TextOrRandomSamples>(o.text, options_.micro_batch * options_.accumulations.back(), shown,
                                                   o.seed);
}

LossFunction GptAudit::make_model(ParameterStore& parameters, DType compute, DType accumulate) const {
  const auto gpt = std::make_shared<nn::Gpt>(model_);
  nn::initialize(*gpt, parameters, options_.seed, options_.device, compute, accumulate);
  if (!checkpoint_.empty()) load_weights(checkpoint_, parameters);
  if (!weights_.empty()) load_gpt_weights(weights_, parameters);
  return [gpt](Tape& tape, const Batch& batch) { return gpt->loss(tape, batch.inputs, batch.targets); };
}

TextOrRandomSamples::TextOrRandomSamples(const std::string& text, std::int64_t samples, const nn::GptConfig& model,
                                         std::uint64_t seed)
    : samples_(samples), model_(model), seed_(seed) {
  if (text.empty()) return;
  file_.emplace(text);
  file_->require_vocabulary(model.vocabulary);
  text_.emplace(TokenSamples(file_->tokens(), model.context, text));
}

Batch TextOrRandomSamples::batch(std::span<const std::int64_t> indices, Device device) const {
  if (text_) return text_->batch(indices, device);
  std::vector<std::int32_t> tokens, targets;
  for (const std::int64_t sample : indices) {
    for (std::int64_t t = 0; t < model_.context; ++t) {
      const Philox4 random =
          sample_random({.seed = seed_}, ~0u - 1, static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(t));
      tokens.push_back(static_cast<std::int32_t>(random[0] % model_.vocabulary));
      targets.push_back(static_cast<std::int32_t>(random[1] % model_.vocabulary));
    }
  }
  const Shape shape{static_cast<std::int64_t>(indices.size()), model_.context};
  return {.inputs = Tensor::from<std::int32_t>(tokens, shape, device),
          .targets = Tensor::from<std::int32_t>(targets, shape, device)};
}

void print_verification(const std::vector<SplitDifference>& differences) {
  fmt::print("Relative difference from the unsplit window of {} samples (contract 12 bounds the gradient's):\n\n",
             differences.front().split.samples());
  fmt::print("{:>12} {:>10} {:>10} {:>10} {:>10} {:>12}  {}\n", "micro x K", "loss", "gradient", "bound", "weights",
             "peak memory", "worst tensor's gradient");
  const SplitDifference* beyond = nullptr;
  for (const SplitDifference& d : differences) {
    const double bound = split_equivalence_bound(d.split.accumulation);
    const bool holds = d.gradient <= bound;
    if (!holds && (beyond == nullptr || !(d.gradient <= beyond->gradient))) beyond = &d;
    fmt::print("{:>12} {:>10.2e} {:>10.2e} {:>10.2e} {:>10.2e} {:>12}  {} {:.2e}{}\n",
               fmt::format("{} x {}", d.split.micro, d.split.accumulation), d.loss, d.gradient, bound, d.weights,
               format_bytes(d.peak_bytes), d.worst_tensor, d.worst_gradient, holds ? "" : "  <-- beyond the bound");
  }
  if (beyond != nullptr)
    fail(ErrorKind::numeric, "the gradient of the window split {}x{} differs by {:.1e}, more than {:.1e}",
         beyond->split.micro, beyond->split.accumulation, beyond->gradient,
         split_equivalence_bound(beyond->split.accumulation));
  fmt::print("\nEvery split gives the gradient of the whole window.\n");
}

}  // namespace accrue::train
