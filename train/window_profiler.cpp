#include "train/window_profiler.h"

#include <algorithm>
#include <utility>

#include "core/allocator.h"

namespace accrue::train {

void WindowProfiler::expect(std::int64_t updates) { turn_ = std::clamp<std::int64_t>(updates, 1, warm); }

std::unique_ptr<OperationRecorder> WindowProfiler::begin_window() {
  ++windows_;
  if (done_ || windows_ < turn_) return nullptr;
  return std::make_unique<OperationRecorder>(Allocator::of(device_).memory().timeline());
}

void WindowProfiler::finish_window(OperationRecorder& recorder, WindowProfile profile) {
  profile.of_process = windows_;
  profile.recording = recorder.finish();
  done_ = true;
  if (on_profile) on_profile(profile);
}

}  // namespace accrue::train
