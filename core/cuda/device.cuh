// One CUDA device as this process uses it: streams, memory, staging buffers, faults.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/fault.cuh"

namespace accrue::cuda {

// Everything is computed on one stream, so memory that was freed may be handed out again at once: whoever gets it
// works behind whoever had it. Input data alone comes on a second stream, into memory that only input data uses.
class CudaDevice final : public DeviceMemory {
 public:
  explicit CudaDevice(int index);

  // Makes this the calling thread's current device.
  void activate() const;
  cudaStream_t stream() const { return stream_; }
  FaultSink fault_sink() const { return {claimed_, record_}; }
  std::string description() const;
  void synchronize();

  void* allocate(std::size_t bytes) override;
  void release(void* pointer, std::size_t bytes) noexcept override;
  std::size_t available() const override;
  bool host_addressable() const override;
  void fill(void* destination, int byte, std::size_t bytes) override;
  void copy(void* destination, const void* source, std::size_t bytes) override;
  // Returns as soon as the source may change: the bytes wait in pinned memory for their turn on the stream.
  void copy_from_host(void* destination, const void* source, std::size_t bytes) override;
  // Waits for all work before it. Throws what a kernel has found wrong with its data since the last wait.
  void copy_to_host(void* destination, const void* source, std::size_t bytes) override;
  // On the copy stream, beside what is computed; what is computed from now on waits for it.
  void upload(void* destination, const void* source, std::size_t bytes) override;
  std::unique_ptr<Readback> readback(std::size_t bytes) override;
  std::unique_ptr<Stopwatch> stopwatch() override;
  std::unique_ptr<Timeline> timeline() override;
  void data_released() noexcept override;

 private:
  struct Staging {
    std::byte* buffer = nullptr;   // pinned
    cudaEvent_t copied = nullptr;  // behind the last copy out of it
  };
  // Of one stream: the event of a buffer is behind all of its copies.
  struct StagingRing {
    cudaStream_t stream = nullptr;
    std::vector<Staging> buffers = std::vector<Staging>(2);
    std::size_t next = 0, used = 0;  // the buffer that is being filled, and its bytes that are
  };
  static constexpr std::size_t staging_bytes = std::size_t{1} << 20, most_staging_buffers = 64;

  static void turn(StagingRing& ring);
  Staging& staging_for(std::size_t bytes, StagingRing& ring);
  void stage(void* destination, const void* source, std::size_t bytes, StagingRing& ring);
  void throw_fault();

  int index_;
  cudaStream_t stream_ = nullptr, copy_stream_ = nullptr;
  cudaEvent_t data_released_ = nullptr;  // on the compute stream, when a block of input data was last given back
  std::int32_t* claimed_ = nullptr;      // device memory
  Fault* record_ = nullptr;              // pinned memory that kernels write to
  std::mutex staging_mutex_;
  StagingRing computed_staging_, data_staging_;
};

// Lives until the process ends. Throws Error(no_device).
CudaDevice& device(int index);

}  // namespace accrue::cuda
