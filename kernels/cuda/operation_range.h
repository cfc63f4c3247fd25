// Names operations of a GPU for Nsight Systems and its like.
#pragma once

namespace accrue::kernels::cuda {

// An NVTX range while it lives: nanoseconds where no tool listens, and nothing on the emulated device.
class OperationRange {
 public:
  explicit OperationRange(const char* name);
  ~OperationRange();
  OperationRange(const OperationRange&) = delete;
  OperationRange& operator=(const OperationRange&) = delete;
};

}  // namespace accrue::kernels::cuda
