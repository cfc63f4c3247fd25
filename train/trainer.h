// The training loop: windows of samples, micro-batches, boundary, evaluation, log, checkpoint.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>

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
  double seconds = 0;                  // of the window: loading, forward, backward, step
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

  // Called after every window, and when a checkpoint is due.
  std::function<void(const WindowRecord&)> on_window;
  std::function<void()> on_save;
  // Asked after every window: whether to stop before all updates are done.
  std::function<bool()> stop_requested;

  // Trains until options.steps updates are done or it is asked to stop, then saves. A restored accumulator continues
  // where it stood. Logs and saves also before it throws because windows keep failing (contract 16): the weights are
  // intact.
  TrainingEnd run();

 private:
  WindowReport run_window(std::int64_t index);
  WindowReport run_window(std::int64_t index, std::exception_ptr& divergence);
  Batch load(std::int64_t first_position, std::int64_t count) const;
  bool due(std::int64_t every, const WindowReport& report) const;

  Accumulator& accumulator_;
  LossFunction loss_;
  const Dataset& data_;
  const Dataset* validation_;
  TrainerOptions options_;
  Device device_;
  Sampler sampler_;
  WindowPlan windows_;
};

}  // namespace accrue::train
