#include "core/cuda/timeline.cuh"

#include "core/cuda/check.cuh"
#include "core/cuda/event.cuh"

namespace accrue::cuda {

// Errors here are those of a lost device, which the next call reports.
EventTimeline::~EventTimeline() {
  for (const cudaEvent_t event : events_)
    if (event != nullptr) cudaEventDestroy(event);
}

std::size_t EventTimeline::mark() {
  device_.activate();
  events_.push_back(nullptr);
  check(cudaEventCreate(&events_.back()), "cudaEventCreate");
  check(cudaEventRecord(events_.back(), device_.stream()), "cudaEventRecord");
  return events_.size() - 1;
}

// From event to event: the runtime counts milliseconds in f32, which over a whole window would be too coarse.
std::vector<double> EventTimeline::seconds() {
  if (events_.empty()) return {};
  wait_for(events_.back());
  std::vector<double> since_first = {0};
  since_first.reserve(events_.size());
  for (std::size_t i = 1; i < events_.size(); ++i) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, events_[i - 1], events_[i]), "cudaEventElapsedTime");
    since_first.push_back(since_first.back() + static_cast<double>(milliseconds) * 1e-3);
  }
  return since_first;
}

}  // namespace accrue::cuda
