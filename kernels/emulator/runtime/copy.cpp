// Copies and fills between host and device.
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <string>

#include "kernels/emulator/checker.h"
#include "kernels/emulator/emulator.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"
#include "kernels/emulator/runtime/memory.h"
#include "kernels/emulator/runtime/stream.h"

namespace accrue::emulator {

void written_by_host(const void* device_memory, std::size_t bytes) { checker::written_by_host(device_memory, bytes); }

namespace {

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  cudaMemcpyKind kind;
};

// Is the memory what the direction says? The addresses decide for cudaMemcpyDefault.
bool direction_fits(const Copy& copy) {
  const bool to_device = kind_of(copy.to) == MemoryKind::device, from_device = kind_of(copy.from) == MemoryKind::device;
  switch (copy.kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

void run(const Copy& copy) {
  std::memmove(copy.to, copy.from, copy.bytes);
  checker::written_by_host(copy.to, copy.bytes);
}

cudaError_t submit_copy(const Copy& copy, cudaStream_t stream, bool staged) {
  if (!staged) return submit(stream, [copy] { run(copy); });
  const auto stage = std::make_shared<const std::string>(static_cast<const char*>(copy.from), copy.bytes);
  return submit(stream, [copy, stage] { run({copy.to, stage->data(), copy.bytes, copy.kind}); });
}

// Pageable memory cannot be reached by the device. A source is copied before the call returns, and a destination is
// complete when it does; only copies between pinned and device memory are asynchronous.
cudaError_t copy_async(const Copy& copy, cudaStream_t handle) {
  const CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  const bool captures = stream->capture != nullptr;  // then all of it happens when the graph runs
  const bool from_pageable = kind_of(copy.from) == MemoryKind::pageable;
  const bool to_pageable = kind_of(copy.to) == MemoryKind::pageable;
  const cudaError_t error = submit_copy(copy, handle, from_pageable && !captures);
  if (error != cudaSuccess || captures || !to_pageable) return error;
  count_synchronisation();
  complete(end_of(*stream));
  return cudaSuccess;
}

}  // namespace
}  // namespace accrue::emulator

using namespace accrue::emulator;

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const RuntimeLock lock;
  if (bytes == 0) return cudaSuccess;
  const Copy copy = {to, from, bytes, kind};
  if (!direction_fits(copy)) return record_error(cudaErrorInvalidValue);
  return record_error(copy_async(copy, stream));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const RuntimeLock lock;
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, cudaStreamLegacy);
  const bool host_takes_part = kind_of(to) != MemoryKind::device || kind_of(from) != MemoryKind::device;
  if (error != cudaSuccess || !host_takes_part) return error;        // copies on the device are asynchronous
  if (kind_of(to) != MemoryKind::pageable) count_synchronisation();  // else it has been counted
  complete(end_of(*find_stream(cudaStreamLegacy)));
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  const RuntimeLock lock;
  if (bytes == 0) return cudaSuccess;
  if (kind_of(to) == MemoryKind::pageable) return record_error(cudaErrorInvalidValue);
  return record_error(submit(stream, [=] {
    std::memset(to, value, bytes);
    checker::written_by_host(to, bytes);
  }));
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, cudaStreamLegacy);
}

}  // extern "C"
