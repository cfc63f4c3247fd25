#include "core/cuda/code_probe.cuh"

#include <cuda_runtime.h>

namespace accrue::cuda {

#ifdef ACCRUE_CUDA_EMULATED

bool current_device_has_code() { return true; }

#else

namespace {

__global__ void probe() {}

}  // namespace

bool current_device_has_code() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, probe) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

#endif

}  // namespace accrue::cuda
