#include "core/cuda/readback.cuh"

#include "core/cuda/check.cuh"
#include "core/cuda/event.cuh"

namespace accrue::cuda {

PinnedReadback::PinnedReadback(const CudaDevice& device, std::size_t bytes) : device_(device), bytes_(bytes) {
  device.activate();
  check(cudaHostAlloc(reinterpret_cast<void**>(&memory_), bytes, cudaHostAllocDefault),
        "cudaHostAlloc of {} bytes of pinned memory", bytes);
  const cudaError_t error = cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming);
  if (error != cudaSuccess) cudaFreeHost(memory_);
  check(error, "cudaEventCreateWithFlags");
}

// Errors here are those of a lost device, which the next call reports.
PinnedReadback::~PinnedReadback() {
  cudaEventSynchronize(copied_);  // a copy may still be under way
  cudaEventDestroy(copied_);
  cudaFreeHost(memory_);
}

void PinnedReadback::begin(const void* source) {
  device_.activate();
  check(cudaMemcpyAsync(memory_, source, bytes_, cudaMemcpyDeviceToHost, device_.stream()),
        "cudaMemcpyAsync of {} bytes to the host", bytes_);
  check(cudaEventRecord(copied_, device_.stream()), "cudaEventRecord");
}

const std::byte* PinnedReadback::wait() {
  wait_for(copied_);
  return memory_;
}

}  // namespace accrue::cuda
