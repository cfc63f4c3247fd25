#include "kernels/emulator/runtime/memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "kernels/emulator/checker.h"
#include "kernels/emulator/options.h"
#include "kernels/emulator/runtime/capture.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"
#include "kernels/emulator/runtime/stream.h"

namespace accrue::emulator {
namespace {

constexpr std::size_t kAlignment = 256;  // what cudaMalloc() promises at least

struct MemoryBlock {
  std::size_t bytes;
  MemoryKind kind;
};

using Blocks = std::map<const char*, MemoryBlock>;

Blocks& blocks() {
  static Blocks instance;
  return instance;
}

std::size_t in_use = 0;

Blocks::iterator find_block(const void* address) {
  const char* byte = static_cast<const char*>(address);
  auto next = blocks().upper_bound(byte);
  if (next == blocks().begin()) return blocks().end();
  --next;
  return byte <= next->first + next->second.bytes ? next : blocks().end();
}

cudaError_t allocate(void** memory, const MemoryBlock& block) {
  if (memory == nullptr) return cudaErrorInvalidValue;
  *memory = nullptr;
  if (block.bytes == 0) return cudaSuccess;
  Blocks entry = {{nullptr, block}};  // first: what it throws must not cost the memory
  if (posix_memalign(memory, kAlignment, block.bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xFF, block.bytes);
  Blocks::node_type node = entry.extract(entry.begin());
  node.key() = static_cast<const char*>(*memory);
  blocks().insert(std::move(node));
  return cudaSuccess;
}

}  // namespace

MemoryKind kind_of(const void* address) {
  const auto found = find_block(address);
  return found == blocks().end() ? MemoryKind::pageable : found->second.kind;
}

cudaError_t allocate_device(void** memory, std::size_t bytes) {
  if (bytes > options().memory - std::min(options().memory, in_use)) return cudaErrorMemoryAllocation;
  const cudaError_t error = allocate(memory, {bytes, MemoryKind::device});
  if (error != cudaSuccess || bytes == 0) return error;
  in_use += bytes;
  checker::allocated(*memory, bytes);
  return cudaSuccess;
}

cudaError_t allocate_pinned(void** memory, std::size_t bytes) {
  const cudaError_t error = allocate(memory, {bytes, MemoryKind::pinned});
  // Pinned memory is mapped memory: with one address space for host and device every kernel may use it.
  if (error == cudaSuccess && bytes != 0) checker::mapped(*memory, bytes);
  return error;
}

cudaError_t release(void* memory, MemoryKind kind) {
  if (memory == nullptr) return cudaSuccess;
  const auto found = blocks().find(static_cast<const char*>(memory));
  if (found == blocks().end() || found->second.kind != kind) return cudaErrorInvalidValue;
  const std::size_t bytes = found->second.bytes;
  blocks().erase(found);
  if (kind == MemoryKind::device) in_use -= bytes;
  checker::freed(memory);
  std::memset(memory, 0xFF, bytes);  // so that who still uses it computes NaN
  std::free(memory);
  return cudaSuccess;
}

std::size_t device_bytes_in_use() { return in_use; }

}  // namespace accrue::emulator

using namespace accrue::emulator;

namespace {

// What allocates or frees is forbidden while a stream captures; what frees also waits for the device.
template <class Function>
cudaError_t unless_capturing(Function function) {
  const RuntimeLock lock;
  const cudaError_t error = Capture::forbid_here();
  return record_error(error != cudaSuccess ? error : function());
}

cudaError_t release_when_idle(void* memory, MemoryKind kind) {
  return unless_capturing([=] {
    if (memory == nullptr) return cudaSuccess;
    count_synchronisation();
    complete_all();
    return release(memory, kind);
  });
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return unless_capturing([=] { return allocate_device(memory, bytes); });
}

cudaError_t cudaFree(void* memory) { return release_when_idle(memory, MemoryKind::device); }

cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  return unless_capturing([=] { return allocate_device(memory, bytes); });
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  return unless_capturing([=] {
    if (memory != nullptr && kind_of(memory) != MemoryKind::device) return cudaErrorInvalidValue;
    return submit(stream, [memory] { record_error(release(memory, MemoryKind::device)); });
  });
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return unless_capturing([=] { return allocate_pinned(memory, bytes); });
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }

cudaError_t cudaFreeHost(void* memory) { return release_when_idle(memory, MemoryKind::pinned); }

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  const RuntimeLock lock;
  if (device == nullptr || kind_of(host) != MemoryKind::pinned) return record_error(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  const RuntimeLock lock;
  *total_bytes = options().memory;
  *free_bytes = options().memory - std::min(options().memory, device_bytes_in_use());
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  const RuntimeLock lock;
  if (attributes == nullptr) return record_error(cudaErrorInvalidValue);
  const MemoryKind kind = kind_of(address);
  void* const pointer = const_cast<void*>(address);
  *attributes = {};
  attributes->type = cudaMemoryTypeUnregistered;
  attributes->device = -1;
  if (kind == MemoryKind::pageable) return cudaSuccess;
  attributes->device = 0;
  attributes->type = kind == MemoryKind::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  attributes->devicePointer = pointer;
  attributes->hostPointer = kind == MemoryKind::pinned ? pointer : nullptr;
  return cudaSuccess;
}

}  // extern "C"
