// Points in the compute stream of a CUDA device: an event each.
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "core/cuda/device.cuh"
#include "core/timeline.h"

namespace accrue::cuda {

class EventTimeline final : public Timeline {
 public:
  explicit EventTimeline(const CudaDevice& device) : device_(device) {}
  ~EventTimeline() override;
  EventTimeline(const EventTimeline&) = delete;
  EventTimeline& operator=(const EventTimeline&) = delete;
  std::size_t mark() override;
  std::vector<double> seconds() override;

 private:
  const CudaDevice& device_;
  std::vector<cudaEvent_t> events_;
};

}  // namespace accrue::cuda
