// The training loop: windows of samples, micro-batches, boundary, evaluation, log, checkpoint.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/accumulator.h"
#include "train/batch_plan.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/sampler.h"
#include "train/trainer_state.h"
#include "train/window_profiler.h"

namespace accrue::train {

// When checkpoints are due while training goes on; 0: never. In updates: at the end of their windows. In seconds: at
// the first micro-batch that ends after them, inside a window, too.
struct SaveInterval {
  std::int64_t updates = 0;
  double seconds = 0;
};

struct TrainerOptions {
  BatchPlan batch;
  std::int64_t steps = 0;  // updates of the whole run; skipped and empty windows do not count (contract 5)
  DataOrder order = DataOrder::shuffled;
  PartialWindow partial = PartialWindow::step;
  std::uint64_t seed = 0;
  std::int64_t evaluate_every = 0;  // updates; 0: at the end only
  SaveInterval save_every;          // besides the end
};

// What the log says of one window.
struct WindowRecord {
  WindowReport report;
  std::vector<WindowReport> replayed;  // the attempts at this window that overflowed before it
  double positions_per_second = 0;     // tokens (or images) of the window by its seconds
  std::int64_t micro_batch = 0;        // samples
  std::size_t peak_bytes = 0;          // most device memory in use at once since the run began
  std::int64_t dropped_per_epoch = 0;  // samples that no window of an epoch contains (contract 4)
  std::optional<double> validation_loss;
};

enum class TrainingEnd { finished, stopped };

class Trainer {
 public:
  // All references must outlive the trainer; `validation` may be null. The sampler's seed is options.seed.
  Trainer(Accumulator& accumulator, LossFunction loss, const Dataset& data, const Dataset* validation,
          const TrainerOptions& options, Device device);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Called after every window, and when a checkpoint is due: between windows or inside one.
  std::function<void(const WindowRecord&)> on_window;
  // Called at every overflow, that of a replayed window included, with the micro-batch and the parameter (contract 20).
  std::function<void(const WindowReport&)> on_overflow;
  std::function<void()> on_save;
  // A checkpoint that could not be saved on the way does not end the run: this is called with the reason, and the next
  // one is tried when it is due. What the last save throws comes out of run().
  std::function<void(const std::string&)> on_save_failed;
  // Asked after every micro-batch: whether to stop before all updates are done.
  std::function<bool()> stop_requested;
  // Asked between operations: whether the micro-batch that is being computed, or the evaluation, must not be waited
  // for. It is rolled back: its forward pass alone, or from its backward pass on the window to its beginning.
  std::function<bool()> must_stop_at_once;
  // Measures one of the windows, with no effect on what is computed; null: none.
  WindowProfiler* profiler = nullptr;

  // Trains until options.steps updates are done or it is asked to stop, then saves. A restored accumulator continues
  // where it stood, in the middle of a window, too. Logs and saves also before it throws because windows keep failing
  // (contract 16), data cannot be read or memory is short: the weights are intact.
  TrainingEnd run();

  // When on_save is called.
  TrainerState state() const { return {.replayed = replayed_, .unlogged = unlogged_}; }
  // Before run(), with an accumulator that was restored from the same checkpoint: one of this run, or of another that
  // it goes on from. Throws Error(bad_data) if its open window has more samples than there are in one.
  enum class CheckpointOf { this_run, another_run };
  void restore(TrainerState state, CheckpointOf run = CheckpointOf::this_run);

 private:
  // The window that comes, or the rest of the open one, up to a stop. Returns the report that is due at its end.
  std::optional<WindowReport> run_window();
  std::optional<WindowReport> run_micro_batch(const Batch& batch);
  // Between micro-batches of a window: whether it is to be left there.
  bool pause(std::int64_t window);
  std::vector<MicroBatch> micro_batches_of(std::int64_t window, std::int64_t first_sample = 0) const;
  Batch load(const MicroBatch& part, std::int64_t window) const;
  bool due(std::int64_t every, std::int64_t update) const;
  bool save_is_due_by_time() const;
  // Whether what is done after the window that was run last depends on how that ended.
  bool must_know() const;
  bool must_stop();
  void poll() const;
  void handle(const std::optional<WindowReport>& report);
  void handle_what_is_under_way();
  void conclude(const WindowReport& report);
  void explain_overflow(WindowReport& report);
  WindowRecord record_of(const WindowReport& report);
  void require_targets(const WindowReport& report);
  // How far training has come; compares with other positions of the run. Not while reports are under way.
  struct Position {
    std::int64_t window, replayed, samples;  // replayed: an attempt at a window that overflowed is progress, too
    bool evaluated;
    friend auto operator<=>(const Position&, const Position&) = default;
  };
  Position position() const;
  // Whether a checkpoint of this run has all of it, or more: a micro-batch that was rolled back may have taken with it
  // what was saved inside the window.
  bool is_saved() const { return saved_at_ && position() <= *saved_at_; }
  TrainingEnd train();
  void save();
  void save_on_the_way();
  void save_before_failing(const std::function<std::optional<WindowReport>()>& last_report);

  Accumulator& accumulator_;
  LossFunction loss_;
  const Dataset& data_;
  const Dataset* validation_;
  TrainerOptions options_;
  Device device_;
  Sampler sampler_;
  WindowPlan windows_;
  // Of the run, as far as reports have come.
  std::int64_t update_ = 0, empty_in_a_row_ = 0;
  std::vector<WindowReport> replayed_;    // of the window that comes next
  std::optional<WindowReport> unlogged_;  // its evaluation was interrupted
  bool stop_ = false;
  std::optional<Position> saved_at_;
  std::chrono::steady_clock::time_point last_save_;
};

}  // namespace accrue::train
