#include "core/cuda/code_probe.cuh"

#include <cuda_runtime.h>

#include "core/cuda/check.cuh"

namespace accrue::cuda {

#ifdef ACCRUE_CUDA_EMULATED

bool current_device_has_code() { return true; }

#else

namespace {

__global__ void probe() {}

}  // namespace

bool current_device_has_code() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, probe);
  if (error == cudaSuccess) return true;
  const bool none = error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
                    error == cudaErrorUnsupportedPtxVersion;
  if (!none) check(error, "cudaFuncGetAttributes");
  cudaGetLastError();
  return false;
}

#endif

}  // namespace accrue::cuda
