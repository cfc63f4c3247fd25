#include "core/cuda/stopwatch.cuh"

#include "core/cuda/check.cuh"
#include "core/cuda/event.cuh"

namespace accrue::cuda {

EventStopwatch::EventStopwatch(const CudaDevice& device) : device_(device) {
  device.activate();
  check(cudaEventCreate(&begin_), "cudaEventCreate");
  const cudaError_t error = cudaEventCreate(&end_);
  if (error != cudaSuccess) cudaEventDestroy(begin_);
  check(error, "cudaEventCreate");
}

// Errors here are those of a lost device, which the next call reports.
EventStopwatch::~EventStopwatch() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

void EventStopwatch::start() {
  device_.activate();
  check(cudaEventRecord(begin_, device_.stream()), "cudaEventRecord");
}

void EventStopwatch::stop() {
  device_.activate();
  check(cudaEventRecord(end_, device_.stream()), "cudaEventRecord");
}

double EventStopwatch::seconds() {
  wait_for(end_);
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
  return static_cast<double>(milliseconds) * 1e-3;
}

}  // namespace accrue::cuda
