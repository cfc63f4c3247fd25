// Batch algebra: global = micro * accumulation * world (contract 7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace accrue::train {

// What the user asked for; unset fields follow from the others. All sizes are samples.
struct BatchRequest {
  std::optional<std::int64_t> micro;         // --micro-batch: what one forward/backward on one device sees
  std::optional<std::int64_t> accumulation;  // --accumulation: K, micro-batches of one device per update
  std::optional<std::int64_t> global;        // --global-batch: what one update averages over
  std::int64_t world = 1;                    // number of devices
  bool ragged = false;                       // --ragged: the last micro-batch of a window may be smaller
};

struct BatchPlan {
  std::int64_t micro = 1;
  std::int64_t accumulation = 1;
  std::int64_t global = 1;
  std::int64_t world = 1;
  std::int64_t last_micro = 1;  // size of each window's last micro-batch; micro unless the split is ragged

  // Samples of one device in a window: micro * (accumulation - 1) + last_micro.
  std::int64_t per_device() const { return global / world; }
  // "global batch 512 = micro-batch 8 x accumulation 16 x 4 devices"
  std::string to_string() const;
  friend bool operator==(const BatchPlan&, const BatchPlan&) = default;
};

// The largest global batch accepted, in samples. Far above any use, and small enough that the nearest valid choices of
// an error are found in milliseconds.
inline constexpr std::int64_t largest_global_batch = std::int64_t{1} << 40;

// Completes a request. Two of micro, accumulation and global define the third; one of micro and global alone means
// accumulation 1. A ragged split has accumulation = ceil(global / world / micro).
// Throws Error(usage) for values below 1, for too few or contradictory values, and for a batch that does not divide;
// the message prints the nearest values that work.
BatchPlan plan_batch(const BatchRequest& request);

}  // namespace accrue::train
