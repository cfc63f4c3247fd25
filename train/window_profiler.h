// Chooses the window of a training that is profiled, and measures it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/device.h"
#include "train/window_profile.h"

namespace accrue::train {

// The third window of the process: the first two have paid for fresh pages, oneDNN's code and cuBLASLt's choices. Of a
// process with fewer to come, the last. A window that does not run to its end, or around which an overflow is reported,
// leaves its turn to the next.
class WindowProfiler {
 public:
  static constexpr std::int64_t warm = 3;  // the number of the first window that is

  explicit WindowProfiler(Device device) : device_(device) {}

  // Called with the profile as soon as its window is done.
  std::function<void(const WindowProfile&)> on_profile;

  // The training is about to make so many updates.
  void expect(std::int64_t updates);
  // A window begins: records it if it is its turn, else null. Where the recorder goes without finish_window(), it
  // did not run to its end.
  std::unique_ptr<OperationRecorder> begin_window();
  // `profile` is what the trainer knows of it. Waits for the device.
  void finish_window(OperationRecorder& recorder, WindowProfile profile);
  bool done() const { return done_; }

 private:
  Device device_;
  std::int64_t turn_ = warm, windows_ = 0;
  bool done_ = false;
};

}  // namespace accrue::train
