#include "train/cli.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "core/format_bytes.h"
#include "optim/schedule.h"
#include "train/console.h"
#include "train/memory_advice.h"
#include "train/nearest.h"

namespace accrue::train {
namespace {

// The subcommand that parsing was in when it failed: its options are the candidates for a suggestion.
const CLI::App& innermost(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : innermost(*chosen.front());
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::string explain_unknown(const CLI::App& app) {
  const CLI::App& command = innermost(app);
  const std::vector<std::string> extras = app.remaining(true);
  const std::string word = extras.empty() ? std::string() : extras.front();
  const std::string name = word.substr(0, word.find('='));
  const bool is_option = name.starts_with("-");
  const std::string guess = nearest(name, is_option ? option_names(command) : subcommand_names(command));
  std::string message =
      is_option ? fmt::format("unknown option {}", name) : fmt::format("unexpected argument '{}'", name);
  if (!guess.empty()) message += fmt::format("; did you mean {}?", guess);
  return message;
}

// "gpt train --help", or "gpt --help" when no subcommand was chosen.
std::string help_command(const CLI::App& app) {
  const CLI::App& command = innermost(app);
  return app.get_name() + (&command == &app ? "" : " " + command.get_name()) + " --help";
}

// Through the console: where standard error is closed or full, the exit code must not be lost.
int report_error(const CLI::App& app, ErrorKind kind, const std::string& message) {
  std::fflush(stdout);
  Console().warn("{}: {}\n", app.get_name(), message);
  return static_cast<int>(kind);
}

int usage_error(const CLI::App& app, const std::string& message) {
  return report_error(app, ErrorKind::usage,
                      fmt::format("error: {} ({} lists the options)", message, help_command(app)));
}

std::string explain_missing_command(const CLI::App& app) {
  return fmt::format("a command is needed: {}", fmt::join(subcommand_names(app), ", "));
}

int parse_error(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help
  // A misspelt word is the likeliest reason for a required one to be missing, so it comes first.
  const bool missing = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  const bool unknown = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  if (unknown || (missing && !app.remaining(true).empty())) return usage_error(app, explain_unknown(app));
  if (missing && app.get_subcommands().empty()) return usage_error(app, explain_missing_command(app));
  return usage_error(app, error.what());
}

// What makes the chosen command need less memory.
std::string memory_advice(const CLI::App& app) {
  const std::string command = innermost(app).get_name();
  if (command == "train")  // before the first micro-batch: train/memory_advice.h has what helps from there on
    return "this is before the first micro-batch, so that only a smaller model (or, for half the gradients' bytes, "
           "--accumulate-dtype bf16) helps";
  if (command == "verify") return "smaller --splits or a smaller model need less memory";
  if (command == "eval") return "a smaller --micro-batch gives the same result in less memory";
  return "a smaller model needs less memory";
}

// A program may be started without standard streams. The next file that it opens would become its standard output, and
// get lines of progress into it. What is opened here in their place cannot be read or written, as is to be expected of
// a closed stream.
void occupy_standard_descriptors() {
  for (const auto& [fd, mode] :
       {std::pair(STDIN_FILENO, O_WRONLY), std::pair(STDOUT_FILENO, O_RDONLY), std::pair(STDERR_FILENO, O_RDONLY)})
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", mode) < 0) return;
}

int run_command(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return parse_error(app, error);
  } catch (const AdvisedError& error) {
    return report_error(app, error.kind(), fmt::format("error: {}", error.what()));
  } catch (const Error& error) {
    switch (error.kind()) {
      case ErrorKind::usage:
        return usage_error(app, error.what());
      case ErrorKind::stopped:
        return report_error(app, error.kind(), error.what());
      case ErrorKind::memory:
        return report_error(app, error.kind(), fmt::format("error: {}; {}", error.what(), memory_advice(app)));
      default:
        return report_error(app, error.kind(), fmt::format("error: {}", error.what()));
    }
  } catch (const std::bad_alloc&) {
    return report_error(app, ErrorKind::memory, fmt::format("error: out of host memory; {}", memory_advice(app)));
  } catch (const std::length_error&) {  // more elements than a vector may have
    return report_error(app, ErrorKind::memory, fmt::format("error: out of host memory; {}", memory_advice(app)));
  } catch (const std::system_error& error) {
    return report_error(app, ErrorKind::io, fmt::format("error: {}", error.what()));
  } catch (const std::exception& error) {
    return report_error(app, ErrorKind::internal, fmt::format("internal error: {}", error.what()));
  }
}

}  // namespace

void require_at_least(CLI::Option* option, std::int64_t minimum, std::int64_t maximum) {
  option->check([minimum, maximum](const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (number && value >= minimum && value <= maximum) return std::string();
    const std::string most = number && value > maximum ? fmt::format(" and at most {}", maximum) : std::string();
    return fmt::format("must be a whole number of at least {}{}, but is '{}'", minimum, most, text);
  });
}

void require_finite(CLI::Option* option, double minimum, double maximum) {
  option->check([minimum, maximum](const std::string& text) {
    double value = NAN;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
    if (number && value >= minimum && value <= maximum) return std::string();
    if (maximum >= 1e300) return fmt::format("must be a number of at least {}, but is '{}'", minimum, text);
    return fmt::format("must be a number in [{}, {}], but is '{}'", minimum, maximum, text);
  });
}

void require_seed(CLI::Option* option) {
  option->check([](const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return std::string();
    return fmt::format("must be a whole number in [0, {}], but is '{}'", std::numeric_limits<std::uint64_t>::max(),
                       text);
  });
}

void require_bytes(CLI::Option* option) {
  option->check([](const std::string& text) {
    if (parse_bytes(text)) return std::string();
    return fmt::format(
        "must be a whole number of bytes, at least 1, or one with K, M, G or T (powers of 1000) or KiB, MiB, GiB or "
        "TiB (of 1024) right behind it, as in 512MiB, but is '{}'",
        text);
  });
}

void require_path(CLI::Option* option) {
  option->check([](const std::string& text) {
    return text.empty() ? std::string("must name a file or directory, but is empty") : std::string();
  });
}

void require_one_of(CLI::Option* option, std::vector<std::string> choices) {
  option->check([choices = std::move(choices)](const std::string& text) {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return std::string();
    return fmt::format("must be one of {}, but is '{}'; did you mean {}?", fmt::join(choices, ", "), text,
                       nearest(text, choices));
  });
}

void add_machine_options(CLI::App& app, MachineOptions& o, PrecisionOption precision) {
  const char* group = "Machine";
  app.add_option("--device", o.device, "Where to compute: auto, cpu or cuda")->capture_default_str()->group(group);
  if (precision == PrecisionOption::offered)
    require_one_of(app.add_option("--precision", o.precision,
                                  "Of activations and products: fp32 or bf16 (on the CPU of products alone); on a GPU "
                                  "also tf32 (products on tensor cores) or fp16 (with a dynamic loss scale). The "
                                  "optimizer is fp32 always")
                       ->capture_default_str()
                       ->group(group),
                   {"fp32", "tf32", "bf16", "fp16"});
  require_one_of(app.add_option("--attention", o.attention,
                                "On a GPU: native (Accrue's kernels), cudnn (where it takes the shape), or auto")
                     ->capture_default_str()
                     ->group(group),
                 {"auto", "cudnn", "native"});
  require_one_of(app.add_option("--epilogues", o.epilogues,
                                "On a GPU, what products compute in the same pass: bias, or all (GELU and its gradient "
                                "and gradients of biases, too)")
                     ->capture_default_str()
                     ->group(group),
                 {"bias", "all"});
  require_at_least(app.add_option("--threads", o.threads, "CPU threads [all cores]")->group(group), 1, 4096);
  require_bytes(app.add_option("--memory-limit", o.memory_limit,
                               "Most memory to take from the device, as in 1500000000, 1500M (powers of 1000), 2GiB "
                               "(of 1024) [what is there]")
                    ->group(group));
}

void add_training_options(CLI::App& app, TrainingOptions& o) {
  require_path(
      app.add_option("--out", o.out, "Directory of the run: checkpoints and metrics.jsonl")->required()->group("Run"));
  app.add_option(
         "--resume", o.resume,
         "Continue the run in --out from its newest checkpoint; with 'auto' also begin it if there is none; with "
         "a PATH from that checkpoint")
      ->type_name("[auto|PATH]")
      ->expected(0, 1)
      ->group("Run");
  require_at_least(
      app.add_option("--evaluate-every", o.evaluate_every, "Updates between validations; 0: at the end only")
          ->capture_default_str()
          ->group("Run"),
      0);
  app.add_option(
         "--save-every", o.save_every,
         "Updates between checkpoints, or the time with s, min or h (10min: inside a window, too); 0: at the end "
         "only")
      ->capture_default_str()
      ->group("Run")
      ->check([](const std::string& text) {
        return parse_save_interval(text)
                   ? std::string()
                   : fmt::format("must be a number of updates, or a time such as 90s, 10min or 2h, but is '{}'", text);
      });
  require_at_least(
      app.add_option("--keep", o.keep,
                     "Checkpoints to keep, the newest ones; 0: all  [3; with --resume what the run has had]")
          ->group("Run"),
      0);
  require_at_least(app.add_option("--log-every", o.log_every, "Updates between lines of output when not on a terminal")
                       ->capture_default_str()
                       ->group("Run"),
                   1);
  app.add_flag("--profile", o.profile,
               "Show where the time of one window goes, by operation, and write its timeline to profile.json in --out")
      ->group("Run");
  require_seed(app.add_option("--seed", o.seed, "Seed of weights, order of the data and dropout")
                   ->capture_default_str()
                   ->group("Run"));

  const char* batch = "Batch";
  require_at_least(app.add_option("--micro-batch", o.micro_batch, "Samples in memory at once")->group(batch), 1);
  require_at_least(app.add_option("--accumulation", o.accumulation, "Micro-batches per update")->group(batch), 1);
  require_at_least(
      app.add_option("--global-batch", o.global_batch, "Samples per update = micro-batch x accumulation")->group(batch),
      1);
  app.add_flag("--ragged", o.ragged, "Let the last micro-batch of a window be smaller")->group(batch);
  require_one_of(app.add_option("--normalisation", o.normalisation,
                                "Divide a window's gradient by its targets, or average the means of its micro-batches "
                                "(targets, micro-batches)")
                     ->capture_default_str()
                     ->group(batch),
                 {"targets", "micro-batches"});
  require_one_of(
      app.add_option("--data-order", o.data_order, "shuffled or sequential")->capture_default_str()->group(batch),
      {"shuffled", "sequential"});
  require_one_of(
      app.add_option("--partial-window", o.partial_window,
                     "When an epoch ends inside a window: step, drop or carry [step; carry with sequential data]")
          ->group(batch),
      {"step", "drop", "carry"});

  const char* group = "Optimizer";
  const double below_one = 1 - 1e-9;
  require_finite(
      app.add_option("--learning-rate", o.learning_rate, "Peak learning rate")->capture_default_str()->group(group), 0);
  require_finite(
      app.add_option("--min-learning-rate", o.min_learning_rate, "Where the schedule ends [0]")->group(group), 0);
  require_one_of(
      app.add_option("--schedule", o.schedule, "constant, linear, cosine or wsd")->capture_default_str()->group(group),
      {"constant", "linear", "cosine", "wsd"});
  require_at_least(
      app.add_option("--warmup", o.warmup, "Updates of linear warm-up")->capture_default_str()->group(group), 0);
  require_at_least(
      app.add_option("--decay", o.decay, "Updates of the final decay of wsd; 0: none [a fifth of the steps]")
          ->group(group),
      0);
  require_finite(
      app.add_option("--clip", o.clip, "Clip the gradient to this norm; 0: off")->capture_default_str()->group(group),
      0);
  require_finite(app.add_option("--beta1", o.beta1, "AdamW's beta1")->capture_default_str()->group(group), 0,
                 below_one);
  require_finite(app.add_option("--beta2", o.beta2, "AdamW's beta2")->capture_default_str()->group(group), 0,
                 below_one);
  require_finite(app.add_option("--eps", o.eps, "AdamW's epsilon")->capture_default_str()->group(group), 1e-30);
  require_finite(app.add_option("--weight-decay", o.weight_decay, "Decay of tensors with two or more dimensions")
                     ->capture_default_str()
                     ->group(group),
                 0);
  add_scaling_options(app, o.scaling);
  add_machine_options(app, o.machine);
}

BatchPlan batch_plan(const TrainingOptions& o, std::int64_t default_micro_batch) {
  BatchRequest request{
      .micro = o.micro_batch, .accumulation = o.accumulation, .global = o.global_batch, .ragged = o.ragged};
  if (!request.micro && !request.global) request.micro = default_micro_batch;
  if (!request.micro && !request.accumulation) {
    // Only the global batch is given: the largest micro-batch up to the default, and without --ragged one that divides
    // it.
    request.micro = std::min(default_micro_batch, *request.global);
    while (!request.ragged && *request.global % *request.micro != 0) --*request.micro;
  }
  return plan_batch(request);
}

optim::AdamWOptions adamw_options(const TrainingOptions& o) {
  return {.beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .weight_decay = o.weight_decay};
}

AccumulatorOptions accumulator_options(const TrainingOptions& o, const BatchPlan& batch, const Machine& machine) {
  if (o.decay && o.schedule != "wsd")
    fail(ErrorKind::usage, "--decay has no effect with --schedule {}; leave it out, or use --schedule wsd", o.schedule);
  if (o.min_learning_rate && o.schedule == "constant")
    fail(ErrorKind::usage,
         "--min-learning-rate has no effect with --schedule constant; leave it out, or use --schedule linear, cosine "
         "or wsd");
  AccumulatorOptions options{
      .accumulation = batch.accumulation,
      .schedule = optim::validated({.kind = optim::parse_schedule_kind(o.schedule),
                                    .peak = o.learning_rate,
                                    .minimum = o.min_learning_rate.value_or(0),
                                    .warmup = o.warmup,
                                    .total = o.steps,
                                    .decay = o.decay.value_or(o.steps / 5)}),
      .max_norm = o.clip,
      .normalisation = parse_normalisation(o.normalisation),
      .seed = o.seed,
      .reports = machine.device.kind == DeviceKind::cuda ? Reports::one_window_late : Reports::at_once};
  apply_scaling(o.scaling, machine.compute, options);
  return options;
}

Normalisation parse_normalisation(const std::string& text) {
  return text == "targets" ? Normalisation::targets : Normalisation::mean_over_micro_batches;
}

PartialWindow partial_window(const TrainingOptions& o) {
  // Sequential data wraps around at its end and so never ends inside a window, unless the user wants epochs.
  const std::string partial = o.partial_window.value_or(o.data_order == "sequential" ? "carry" : "step");
  return partial == "carry" ? PartialWindow::carry : partial == "drop" ? PartialWindow::drop : PartialWindow::step;
}

TrainerOptions trainer_options(const TrainingOptions& o, const BatchPlan& batch) {
  return {.batch = batch,
          .steps = o.steps,
          .order = o.data_order == "sequential" ? DataOrder::sequential : DataOrder::shuffled,
          .partial = partial_window(o),
          .seed = o.seed,
          .evaluate_every = o.evaluate_every,
          .save_every = parse_save_interval(o.save_every).value_or(SaveInterval())};
}

std::optional<SaveInterval> parse_save_interval(const std::string& text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  constexpr std::int64_t a_thousand_years = std::int64_t{1} << 35;  // seconds: what a clock counts in nanoseconds
  if (error != std::errc() || count < 0) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.empty()) return SaveInterval{.updates = count};
  for (const auto& [name, seconds] : {std::pair<std::string_view, std::int64_t>{"s", 1}, {"min", 60}, {"h", 3600}}) {
    if (unit == name && count >= 1 && count <= a_thousand_years / seconds)
      return SaveInterval{.updates = 0, .seconds = static_cast<double>(count * seconds)};
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> training_rules(const TrainingOptions& o, const BatchPlan& batch,
                                                                float dropout) {
  const auto number = [](double value) { return fmt::format("{}", value); };
  // Only the mean over targets is the same however a window is split (contract 1).
  const bool by_split = parse_normalisation(o.normalisation) != Normalisation::targets;
  std::vector<std::pair<std::string, std::string>> rules{
      {"--normalisation", by_split ? fmt::format("{} of {}", o.normalisation, batch.micro) : o.normalisation},
      {"--dropout", fmt::format("{}", dropout)},
      {"--precision", precision_rule(o.machine)},
      {"--schedule", o.schedule},
      {"--learning-rate", number(o.learning_rate)},
      {"--min-learning-rate", number(o.min_learning_rate.value_or(0))},
      {"--warmup", fmt::format("{}", o.warmup)},
      {"--decay", o.decay ? fmt::format("{}", *o.decay) : "a fifth of the steps"},
      {"--clip", number(o.clip)},
      {"--beta1", number(o.beta1)},
      {"--beta2", number(o.beta2)},
      {"--eps", number(o.eps)},
      {"--weight-decay", number(o.weight_decay)}};
  std::ranges::copy(scaling_rules(o.scaling, compute_dtype(o.machine)), std::back_inserter(rules));
  return rules;
}

int run_program(CLI::App& app, int argc, char** argv) {
  occupy_standard_descriptors();
  const int code = run_command(app, argc, argv);
  // Output waits in a buffer: that a full disk took the last of it shows only here. That of a training does not: it
  // goes through the console, and is not what the training was for.
  if ((std::fflush(stdout) == 0 && std::ferror(stdout) == 0) || code != 0) return code;
  return report_error(app, ErrorKind::io, "error: the output could not be written; is the disk full?");
}

}  // namespace accrue::train
