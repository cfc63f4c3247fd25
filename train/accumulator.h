// Gradient accumulation: the window between two optimizer steps. The contract it keeps is docs/contract.md, by number.
#pragma once

#include <cstdint>
#include <optional>

#include "core/parameter.h"
#include "core/tape.h"
#include "kernels/schedule_value.h"
#include "kernels/step_state.h"
#include "nn/cross_entropy.h"
#include "optim/optimizer.h"

namespace accrue::train {

// What the summed gradient of a window is divided by.
enum class Normalisation {
  targets,                  // W, the window's number of targets: the update of one large batch (contract 1)
  mean_over_micro_batches,  // the tutorials' rule: each micro-batch's mean, averaged. Equal to `targets` only when all
                            // micro-batches have equally many targets (contract 2)
};

struct AccumulatorOptions {
  std::int64_t accumulation = 1;  // K: micro-batches a window, unless open_window() says otherwise
  kernels::ScheduleParameters schedule = {};
  double max_norm = 0;  // clip the window's gradient to this norm; 0: no clipping
  Normalisation normalisation = Normalisation::targets;
  std::uint64_t seed = 0;      // of the random numbers of training (dropout)
  std::int64_t patience = 20;  // so many windows in a row with a non-finite gradient end the run
};

// How a window ended.
enum class Outcome { updated, skipped, empty };

struct WindowReport {
  Outcome outcome = Outcome::updated;
  std::int64_t window = 0;  // 0-based
  std::int64_t update = 0;  // updates done after this window
  std::int64_t micro_batches = 0;
  std::int64_t samples = 0;
  std::int64_t targets = 0;  // W
  double loss = 0;           // sum of S_m / W (contract 8); NaN for an empty window
  double grad_norm = 0;      // of the normalised gradient before clipping (contract 17)
  double learning_rate = 0;
};

// window = update + skipped + empty (contract 5).
struct Counters {
  std::int64_t micro = 0;   // micro-batches accumulated
  std::int64_t window = 0;  // windows closed
  std::int64_t update = 0;
  std::int64_t skipped = 0;
  std::int64_t empty = 0;
};

// Use, once per micro-batch:
//   Tape tape = accumulator.begin_micro_batch(samples);
//   nn::Loss loss = nn::cross_entropy(tape, model.forward(tape, inputs), targets);
//   if (auto report = accumulator.accumulate(tape, loss)) …  // the window is closed, the weights are updated
class Accumulator {
 public:
  // Refers to both for its whole life. Throws Error(usage) for impossible options.
  Accumulator(ParameterStore& parameters, optim::Optimizer& optimizer, const AccumulatorOptions& options);

  // The tape of the next micro-batch, of this many samples: carries seed, window and the samples' index in the window.
  Tape begin_micro_batch(std::int64_t samples);
  // Runs the backward pass into the parameters' gradients; with the window's last micro-batch also the optimizer step.
  std::optional<WindowReport> accumulate(Tape& tape, const nn::Loss& loss);

  // The coming window has this many micro-batches (a last, ragged or partial one). Only between windows.
  void open_window(std::int64_t micro_batches);
  bool window_open() const { return micro_in_window_ > 0; }
  // The data ended inside a window: step with what has arrived, divided by its true W (contract 4); nullopt between
  // windows.
  std::optional<WindowReport> close_window();
  // Forgets what has arrived in the open window: the weights keep their bits. Returns the samples forgotten.
  std::int64_t drop_window();

  Counters counters() const;
  // The report of the window that closed last: also of one that ended with Error(numeric), which returns none.
  const std::optional<WindowReport>& last_window() const { return last_window_; }

  // Between windows, everything beside weights and optimizer that a checkpoint needs.
  struct State {
    std::int64_t micro = 0;
    std::int64_t window = 0;
    kernels::StepState step;
  };
  State state() const;
  void restore(const State& state);

 private:
  bool at_boundary() const { return micro_in_window_ == planned_; }  // the one boundary bit (contract 6)
  WindowReport step();

  ParameterStore& parameters_;
  optim::Optimizer& optimizer_;
  AccumulatorOptions options_;
  Tensor state_;
  std::int64_t planned_;
  std::int64_t micro_ = 0, window_ = 0;
  std::int64_t micro_in_window_ = 0, samples_in_window_ = 0;
  std::optional<WindowReport> last_window_;
};

}  // namespace accrue::train
