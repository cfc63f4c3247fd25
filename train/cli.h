// What the programs share on the command line: options of a training run, validators, and errors as exit codes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "optim/adamw.h"
#include "train/accumulator.h"
#include "train/scaling_options.h"
#include "train/trainer.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace accrue::train {

// What to compute with, as the user said it.
struct MachineOptions {
  std::string device = "auto", precision = "fp32", attention = "auto", epilogues = "bias";
  int threads = 0;
  std::optional<std::string> memory_limit;
};

// The same in the library's types.
struct Machine {
  Device device;
  DType compute;  // of activations and of the weights that forward and backward read
};

// Options of `gpt train` and `mlp train` alike, as the user gave them.
struct TrainingOptions {
  std::string out;
  std::optional<std::int64_t> micro_batch, accumulation, global_batch;
  bool ragged = false;
  std::string normalisation = "targets";
  std::string data_order = "shuffled";
  std::optional<std::string> partial_window;
  std::int64_t steps = 0;
  double learning_rate = 1e-3;
  std::optional<double> min_learning_rate;
  std::int64_t warmup = 0;
  std::optional<std::int64_t> decay;
  std::string schedule = "constant";
  double clip = 1.0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1;
  std::uint64_t seed = 0;
  ScalingOptions scaling;
  MachineOptions machine;
  std::int64_t evaluate_every = 0;
  std::string save_every = "0";
  std::optional<std::int64_t> keep;  // left out: what the run has had, or 3
  std::int64_t log_every = 10;
  bool profile = false;
  std::optional<std::string> resume;  // RunStart says what it means
};

enum class PrecisionOption { offered, left_out };
void add_machine_options(CLI::App& app, MachineOptions& options, PrecisionOption precision = PrecisionOption::offered);
// Every option but --steps, which the programs count differently (updates, or epochs).
void add_training_options(CLI::App& app, TrainingOptions& options);

// Applies --device, --precision, --attention, --epilogues, --threads and --memory-limit. Throws Error(no_device) or
// Error(usage).
Machine use_machine(const MachineOptions& options);
// What activations are in.
DType compute_dtype(const MachineOptions& options);
// What a run computes in, as its checkpoints tell it: --precision, or "bf16 (products)" on the CPU.
std::string precision_rule(const MachineOptions& options);
// What use_machine() has chosen: "cpu, 2 threads, products in bf16", or "cuda:0 (NVIDIA H100, …), bf16".
std::string describe_machine(const MachineOptions& options);
// The options in the library's types, checked. Throw Error(usage) naming the option and the nearest valid choice.
BatchPlan batch_plan(const TrainingOptions& options, std::int64_t default_micro_batch);
optim::AdamWOptions adamw_options(const TrainingOptions& options);
AccumulatorOptions accumulator_options(const TrainingOptions& options, const BatchPlan& batch, const Machine& machine);
TrainerOptions trainer_options(const TrainingOptions& options, const BatchPlan& batch);
// "100" (updates), "90s", "10min", "2h". Nullopt for anything else.
std::optional<SaveInterval> parse_save_interval(const std::string& text);
Normalisation parse_normalisation(const std::string& text);
PartialWindow partial_window(const TrainingOptions& options);
// The options that shape an update but not which samples it sees, with their values as text.
std::vector<std::pair<std::string, std::string>> training_rules(const TrainingOptions& options, const BatchPlan& batch,
                                                                float dropout);

// Validators for numbers, each refusing NaN and saying what would be right.
void require_at_least(CLI::Option* option, std::int64_t minimum,
                      std::int64_t maximum = std::numeric_limits<std::int64_t>::max());
void require_finite(CLI::Option* option, double minimum, double maximum = 1e300);
void require_seed(CLI::Option* option);   // a whole number of 64 bits
void require_bytes(CLI::Option* option);  // parse_bytes() takes it
// A file or directory; an empty name would mean the current directory to some calls and nothing to others.
void require_path(CLI::Option* option);
void require_one_of(CLI::Option* option, std::vector<std::string> choices);

// Parses the command line and runs the chosen subcommand. Returns the exit code (docs/exit-codes.md); an error is one
// line on standard error, and an unknown option or subcommand names the nearest one there is. Output that could not be
// written is an error, too, but for what a training shows through train/console.h while it runs.
int run_program(CLI::App& app, int argc, char** argv);

}  // namespace accrue::train
