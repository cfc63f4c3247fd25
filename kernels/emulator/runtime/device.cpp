// What the emulated device says about itself and about kernels.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>

#include "kernels/emulator/device_limits.h"
#include "kernels/emulator/launch.h"
#include "kernels/emulator/options.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"

using namespace accrue::emulator;

namespace {

void fill_limits(cudaDeviceProp& properties) {
  properties.maxThreadsPerBlock = kMaxThreadsPerBlock;
  properties.maxThreadsDim[0] = kMaxBlockX;
  properties.maxThreadsDim[1] = kMaxBlockY;
  properties.maxThreadsDim[2] = kMaxBlockZ;
  properties.maxGridSize[0] = kMaxGridX;
  properties.maxGridSize[1] = kMaxGridY;
  properties.maxGridSize[2] = kMaxGridZ;
  properties.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  properties.maxBlocksPerMultiProcessor = kBlocksPerMultiprocessor;
  properties.regsPerBlock = kRegistersPerMultiprocessor;
  properties.regsPerMultiprocessor = kRegistersPerMultiprocessor;
}

void fill_memory(cudaDeviceProp& properties) {
  properties.totalGlobalMem = options().memory;
  properties.totalConstMem = kConstantMemory;
  properties.sharedMemPerBlock = kSharedPerBlock;
  properties.sharedMemPerBlockOptin = kSharedPerBlockOptIn;
  properties.sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  properties.reservedSharedMemPerBlock = kSharedReservedPerBlock;
  properties.l2CacheSize = kL2Bytes;
  properties.canMapHostMemory = 1;
  properties.unifiedAddressing = 1;
}

// -1 for what the emulated device has no answer to.
int attribute_value(cudaDeviceAttr attribute) {
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      return kMaxThreadsPerBlock;
    case cudaDevAttrMaxBlockDimX:
      return kMaxBlockX;
    case cudaDevAttrMaxBlockDimY:
      return kMaxBlockY;
    case cudaDevAttrMaxBlockDimZ:
      return kMaxBlockZ;
    case cudaDevAttrMaxGridDimX:
      return kMaxGridX;
    case cudaDevAttrMaxGridDimY:
      return kMaxGridY;
    case cudaDevAttrMaxGridDimZ:
      return kMaxGridZ;
    case cudaDevAttrWarpSize:
      return 32;
    case cudaDevAttrMultiProcessorCount:
      return kMultiprocessors;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return kThreadsPerMultiprocessor;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return kBlocksPerMultiprocessor;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return kSharedPerBlock;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return kSharedPerBlockOptIn;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return kSharedPerMultiprocessor;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return kSharedReservedPerBlock;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return kRegistersPerMultiprocessor;
    case cudaDevAttrTotalConstantMemory:
      return kConstantMemory;
    case cudaDevAttrL2CacheSize:
      return kL2Bytes;
    case cudaDevAttrComputeCapabilityMajor:
      return kComputeMajor;
    case cudaDevAttrComputeCapabilityMinor:
      return kComputeMinor;
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrUnifiedAddressing:
      return 1;
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrConcurrentManagedAccess:
      return 0;
    default:
      return -1;
  }
}

// Each block takes what it asks for and a part that the system reserves.
int blocks_per_multiprocessor(int threads, std::size_t dynamic_shared_bytes) {
  const int warps = (threads + 31) / 32;
  const auto by_shared = kSharedPerMultiprocessor / (dynamic_shared_bytes + kSharedReservedPerBlock);
  const int by_threads = kThreadsPerMultiprocessor / (warps * 32);
  return std::min({kBlocksPerMultiprocessor, by_threads, static_cast<int>(by_shared)});
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  const RuntimeLock lock;
  return record_error(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const RuntimeLock lock;
  if (device != 0) return record_error(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "%s", kDeviceName);
  properties->major = kComputeMajor;
  properties->minor = kComputeMinor;
  properties->warpSize = 32;
  properties->multiProcessorCount = kMultiprocessors;
  fill_limits(*properties);
  fill_memory(*properties);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const RuntimeLock lock;
  if (device != 0) return record_error(cudaErrorInvalidDevice);
  const int answer = attribute_value(attribute);
  if (answer < 0) return record_error(cudaErrorInvalidValue);
  *value = answer;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const RuntimeLock lock;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;  // a hint
  if (value < 0 || static_cast<std::size_t>(value) > kSharedPerBlockOptIn) return record_error(cudaErrorInvalidValue);
  set_dynamic_shared_limit(kernel, static_cast<std::size_t>(value));
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* kernel, int threads,
                                                                   std::size_t dynamic_shared_bytes, unsigned) {
  const RuntimeLock lock;
  if (kernel == nullptr || threads < 1) return record_error(cudaErrorInvalidValue);
  const bool launchable =
      threads <= static_cast<int>(kMaxThreadsPerBlock) && dynamic_shared_bytes <= dynamic_shared_limit(kernel);
  *blocks = launchable ? blocks_per_multiprocessor(threads, dynamic_shared_bytes) : 0;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel, int threads,
                                                          std::size_t dynamic_shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, kernel, threads, dynamic_shared_bytes, 0);
}

}  // extern "C"
