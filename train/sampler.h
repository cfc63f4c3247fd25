// Which samples a window of training sees: a shuffled stream without a stored permutation, cut into windows.
#pragma once

#include <cstdint>
#include <vector>

namespace accrue::train {

// The order of the samples within an epoch.
enum class DataOrder { shuffled, sequential };

// What becomes of a window that the end of the data set cuts short (contract 4).
enum class PartialWindow {
  step,   // a short window: its update divides by its own true number of targets
  drop,   // the epoch's tail is left out, and reported (WindowPlan::dropped_per_epoch)
  carry,  // the window continues with the first samples of the next epoch
};

// The endless stream of samples: position 0, 1, 2, … passes through the data set epoch after epoch. An index is a pure
// function of (dataset_size, order, seed, position): a resume needs only the position, memory is O(1), and any split of
// the stream over micro-batches, ranks or runs sees the same samples.
class Sampler {
 public:
  // dataset_size >= 1.
  Sampler(std::int64_t dataset_size, DataOrder order, std::uint64_t seed);

  // Index in [0, dataset_size) of the sample at a position >= 0. Each epoch is a permutation of the whole data set.
  std::int64_t sample_at(std::int64_t position) const;
  std::int64_t epoch_of(std::int64_t position) const { return position / dataset_size_; }
  std::int64_t dataset_size() const { return dataset_size_; }

 private:
  std::int64_t shuffled(std::uint64_t epoch, std::uint64_t offset) const;

  std::int64_t dataset_size_;
  DataOrder order_;
  std::uint64_t seed_;
  int half_bits_;  // the smallest h with 4^h >= dataset_size
};

// A range of stream positions.
struct Window {
  std::int64_t first_position;
  std::int64_t count;
  friend bool operator==(const Window&, const Window&) = default;
};

// Cuts the stream into windows of `global_batch` samples (over all micro-batches and ranks).
class WindowPlan {
 public:
  // Both sizes >= 1. Throws Error(usage) when `drop` would leave no window in an epoch, naming the choices that work.
  WindowPlan(std::int64_t dataset_size, std::int64_t global_batch, PartialWindow partial);

  // Window `index` >= 0, counted from the start of training.
  Window window(std::int64_t index) const;
  // Windows in an epoch; with `carry`, where epochs share windows, those needed to see one epoch to its end.
  std::int64_t windows_per_epoch() const { return windows_per_epoch_; }
  // Samples that no window of an epoch contains; 0 unless the policy is `drop`.
  std::int64_t dropped_per_epoch() const;

 private:
  std::int64_t dataset_size_;
  std::int64_t global_batch_;
  PartialWindow partial_;
  std::int64_t windows_per_epoch_;
};

// A micro-batch's range within its window: samples [first, first + count).
struct MicroBatch {
  std::int64_t first;
  std::int64_t count;
  friend bool operator==(const MicroBatch&, const MicroBatch&) = default;
};

// Splits `count` >= 0 samples into micro-batches of `micro` >= 1, the last one smaller when they do not divide evenly.
std::vector<MicroBatch> micro_batches(std::int64_t count, std::int64_t micro);

}  // namespace accrue::train
