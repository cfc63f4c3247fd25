// Gradient accumulation: the window between two optimizer steps. The contract it keeps is docs/contract.md, by number.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/parameter.h"
#include "core/tape.h"
#include "kernels/loss_scaling.h"
#include "kernels/schedule_value.h"
#include "kernels/step_control.h"
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

// When a window's report comes. Only the device knows what became of a window, and asking it at once means to wait for
// it.
enum class Reports {
  at_once,          // with the window's last micro-batch
  one_window_late,  // with the last micro-batch of the window after it, or from flush(): nobody waits (contract 18)
};

struct AccumulatorOptions {
  std::int64_t accumulation = 1;  // K: micro-batches a window, unless open_window() says otherwise
  kernels::ScheduleParameters schedule = {};
  double max_norm = 0;  // clip the window's gradient to this norm; 0: no clipping
  Normalisation normalisation = Normalisation::targets;
  std::uint64_t seed = 0;  // of the random numbers of training (dropout)
  // So many windows in a row with a non-finite gradient, where the loss scale cannot fall (further), end the run.
  std::int64_t patience = 20;
  kernels::LossScaling scaling = {};
  float loss_scale = 1;                                         // of the first window: a power of two
  kernels::OnOverflow on_overflow = kernels::OnOverflow::skip;  // replay needs dynamic scaling
  Reports reports = Reports::at_once;
};

// How a window ended.
enum class Outcome {
  updated,
  skipped,   // its gradient was not finite
  empty,     // W = 0
  replayed,  // its gradient was not finite, and it comes again at a smaller loss scale: this attempt does not count
};

// What went beyond the largest number (contract 20).
struct Overflow {
  std::string parameter;  // whose gradient it was
  std::optional<std::int64_t>
      micro_batch;  // after which the window's gradient was not finite, from 0; by find_overflow
};

struct WindowReport {
  Outcome outcome = Outcome::empty;
  std::int64_t window = 0;  // this window's number, from 0
  std::int64_t update = 0;  // updates done, this window's included
  std::int64_t micro_batches = 0;
  std::int64_t samples = 0;
  std::int64_t targets = 0;  // W
  double loss = 0;           // sum of S_m / W (contract 8); NaN for an empty window
  double grad_norm = 0;      // of the normalised gradient before clipping (contract 17)
  double learning_rate = 0;
  double loss_scale = 1;             // sigma of this window
  double next_loss_scale = 1;        // and of the next one
  double seconds = 0;                // that the device took, from open_window() or the first micro-batch to the step
  std::int64_t timed_samples = 0;    // the samples of those seconds: fewer where the window was resumed in its middle
  std::optional<Overflow> overflow;  // of a skipped or replayed window
};

// window = update + skipped + empty (contract 5).
struct Counters {
  std::int64_t micro = 0;
  std::int64_t window = 0;
  std::int64_t update = 0;
  std::int64_t skipped = 0;
  std::int64_t empty = 0;
  std::int64_t replayed = 0;  // attempts at a window that overflowed and came again
};

class Accumulator {
 public:
  // Refers to both for its whole life. Throws Error(usage) for impossible options.
  Accumulator(ParameterStore& parameters, optim::Optimizer& optimizer, const AccumulatorOptions& options);

  // The tape of the next micro-batch, of this many samples: carries seed, window, the samples' index in the window and
  // the loss scale.
  Tape begin_micro_batch(std::int64_t samples);
  // The micro-batch begun last is given up before its backward pass: it has left no trace.
  void abandon_micro_batch();
  // Runs the backward pass into the parameters' gradients; with the window's last micro-batch also the optimizer step.
  // Where the backward pass throws, so does this, and the window is to start again: what had arrived of it is
  // forgotten. Returns the report that is due then (Reports). With one of an overflow, a window that was begun after
  // that one has left no trace: next_window() says which one comes now. Throws Error(numeric) when the patience is at
  // an end, with every window closed and counted: a checkpoint can still be made of what is there.
  std::optional<WindowReport> accumulate(Tape& tape, const nn::Loss& loss);
  // The report of a closed window that is still to come; waits for the device. Between micro-batches, before counters()
  // and state(). As with accumulate(), the report of an overflow means that an open window has left no trace.
  std::optional<WindowReport> flush();

  // The coming window has this many micro-batches (a last, ragged or partial one). Only between windows.
  void open_window(std::int64_t micro_batches);
  bool window_open() const { return micro_in_window_ > 0; }
  // The open window, which a checkpoint has restored, has this many micro-batches to come.
  void continue_window(std::int64_t micro_batches);
  // Samples of the open window that have arrived.
  std::int64_t samples_in_window() const { return samples_in_window_; }
  // The number of the window that is open, or that opens next.
  std::int64_t next_window() const { return window_; }
  // A tape for a micro-batch that was run before, with its random numbers and that loss scale (f32 [1] on the device).
  // Nothing of it counts; whoever unwinds it clears the gradients.
  Tape repeat_micro_batch(std::int64_t window, std::int64_t first_sample, const Tensor& loss_scale) const;
  ParameterStore& parameters() const { return parameters_; }
  // Is asked about each overflow before its report is returned or its error thrown, between windows: may run the window
  // again to find out more (train/overflow_search.h).
  std::function<void(WindowReport&)> on_overflow;
  // The data ended inside a window: step with what has arrived, divided by its true W (contract 4); nullopt between
  // windows. What it returns is what accumulate() would.
  std::optional<WindowReport> close_window();
  // Forgets what has arrived in the open window: the weights keep their bits. Returns the samples forgotten. Throws
  // Error(bad_data) where the window before met bad data of which nobody knew yet: that window comes again.
  std::int64_t drop_window();

  Counters counters() const;
  // The report of the window that closed last: also of one that ended with Error(numeric), which returns none.
  const std::optional<WindowReport>& last_window() const { return last_window_; }

  // Between micro-batches, with no report still to come: everything that a checkpoint needs beside weights, optimizer
  // and, inside a window, the gradients (contract 23).
  struct State {
    std::int64_t micro = 0;  // all micro-batches, those of the open window among them
    std::int64_t window = 0;
    bool dynamic_scaling = false;
    kernels::StepState step;
    // Of the open window; 0 between windows.
    std::int64_t micro_in_window = 0;
    std::int64_t samples_in_window = 0;
    // What else its sums depend on.
    Normalisation normalisation = Normalisation::targets;
    DType accumulate_dtype = DType::f32;
  };
  State state() const;
  // Whether an open window of that state can go on here: its sums were made by this accumulator's rules.
  bool continues(const State& state) const;
  // A loss scale that was or is not dynamic begins anew, as the options say. Where an open window goes on, the caller
  // puts its gradients back afterwards (Parameter::restore_gradient), and continue_window() says how it ends; where it
  // cannot, it starts again.
  void restore(const State& state);

 private:
  // A closed window whose record is on its way to the host.
  struct Closed {
    bool under_way = false;
    WindowReport report;                      // what the host knows of it
    std::int64_t first_micro = 0;             // micro-batches before it
    std::unique_ptr<Readback> before, after;  // its StepState when the optimizer was done, and as the next one begins
    std::unique_ptr<Stopwatch> stopwatch;
  };

  bool at_boundary() const { return micro_in_window_ == planned_; }  // the one boundary bit (contract 6)
  std::optional<WindowReport> step();
  Closed& closed_of(std::int64_t window);
  bool reports_to_come() const;
  void start_stopwatch();
  void open(std::int64_t window, std::int64_t micro);
  void reopen(std::int64_t window, std::int64_t micro);
  void forget_window() noexcept;
  std::optional<WindowReport> collect(Closed& closed);
  void complete(WindowReport& report, const kernels::StepState& before, const kernels::StepState& after) const;
  [[noreturn]] void throw_bad_data(const Closed& closed);
  [[noreturn]] void give_up(const WindowReport& report, std::int64_t windows) const;

  ParameterStore& parameters_;
  optim::Optimizer& optimizer_;
  AccumulatorOptions options_;
  Tensor state_, slices_;
  std::array<Closed, 2> closed_;  // by the parity of the window
  std::int64_t planned_;
  std::int64_t micro_ = 0, window_ = 0;
  std::int64_t micro_in_window_ = 0, samples_in_window_ = 0;
  std::int64_t samples_of_micro_batch_ = 0;  // of the one begun last
  std::int64_t restored_samples_ = 0;        // of the open window, that arrived before it was resumed
  bool timed_ = false;                       // the coming window's stopwatch runs
  std::optional<WindowReport> last_window_;
};

}  // namespace accrue::train
