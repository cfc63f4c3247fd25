// A few bytes of a CUDA device on their way to pinned memory.
#pragma once

#include <cuda_runtime.h>

#include "core/cuda/device.cuh"
#include "core/readback.h"

namespace accrue::cuda {

// The copy takes its turn on the device's compute stream; an event behind it says when the bytes are there.
class PinnedReadback final : public Readback {
 public:
  PinnedReadback(const CudaDevice& device, std::size_t bytes);
  ~PinnedReadback() override;
  PinnedReadback(const PinnedReadback&) = delete;
  PinnedReadback& operator=(const PinnedReadback&) = delete;
  void begin(const void* source) override;
  const std::byte* wait() override;

 private:
  const CudaDevice& device_;
  std::size_t bytes_;
  std::byte* memory_ = nullptr;
  cudaEvent_t copied_ = nullptr;
};

}  // namespace accrue::cuda
