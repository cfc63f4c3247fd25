// The training loop: windows of samples, micro-batches, boundary, evaluation, log, checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "train/accumulator.h"
#include "train/batch_plan.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/sampler.h"

namespace accrue::train {

struct TrainerOptions {
  BatchPlan batch;
  std::int64_t steps = 0;  // updates of the whole run; skipped and empty windows do not count (contract 5)
  DataOrder order = DataOrder::shuffled;
  PartialWindow partial = PartialWindow::step;
  std::uint64_t seed = 0;
  std::int64_t evaluate_every = 0;  // updates; 0: at the end only
  std::int64_t save_every = 0;      // updates; 0: at the end only
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

  // Called after every window, and when a checkpoint is due.
  std::function<void(const WindowRecord&)> on_window;
  // Called at every overflow, that of a replayed window included, with the micro-batch and the parameter (contract 20).
  std::function<void(const WindowReport&)> on_overflow;
  std::function<void()> on_save;
  // Asked after every window: whether to stop before all updates are done.
  std::function<bool()> stop_requested;

  // Trains until options.steps updates are done or it is asked to stop, then saves. A restored accumulator continues
  // where it stood. Logs and saves also before it throws because windows keep failing (contract 16): the weights are
  // intact.
  TrainingEnd run();

 private:
  std::optional<WindowReport> run_window(std::int64_t index);
  std::vector<MicroBatch> micro_batches_of(std::int64_t window) const;
  Batch load(const MicroBatch& part, std::int64_t window) const;
  bool due(std::int64_t every, std::int64_t update) const;
  // Whether what is done after the window that was run last depends on how that ended.
  bool must_know() const;
  void handle(const std::optional<WindowReport>& report);
  void explain_overflow(WindowReport& report);
  WindowRecord record_of(const WindowReport& report);
  void require_targets(const WindowReport& report);
  TrainingEnd train();
  void save();

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
  std::vector<WindowReport> replayed_;  // of the window that comes next
  bool saved_ = false;
};

}  // namespace accrue::train
