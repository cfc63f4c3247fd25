// Times work of a CUDA device by events in its compute stream.
#pragma once

#include <cuda_runtime.h>

#include "core/cuda/device.cuh"
#include "core/stopwatch.h"

namespace accrue::cuda {

class EventStopwatch final : public Stopwatch {
 public:
  explicit EventStopwatch(const CudaDevice& device);
  ~EventStopwatch() override;
  EventStopwatch(const EventStopwatch&) = delete;
  EventStopwatch& operator=(const EventStopwatch&) = delete;
  void start() override;
  void stop() override;
  double seconds() override;

 private:
  const CudaDevice& device_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace accrue::cuda
