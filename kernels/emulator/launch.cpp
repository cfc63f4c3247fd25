#include "kernels/emulator/launch.h"

#include <unordered_map>

#include "kernels/emulator/block.h"
#include "kernels/emulator/device_limits.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"
#include "kernels/emulator/runtime/stream.h"

namespace accrue::emulator {
namespace {

std::uint64_t launches = 0;

std::unordered_map<const void*, std::size_t>& limits() {
  static std::unordered_map<const void*, std::size_t> instance;
  return instance;
}

bool within(const dim3& size, unsigned x, unsigned y, unsigned z) {
  return size.x >= 1 && size.y >= 1 && size.z >= 1 && size.x <= x && size.y <= y && size.z <= z;
}

cudaError_t check(const detail::Call& call) {
  const dim3& block_size = call.block;
  if (!within(call.grid, kMaxGridX, kMaxGridY, kMaxGridZ)) return cudaErrorInvalidConfiguration;
  if (!within(block_size, kMaxBlockX, kMaxBlockY, kMaxBlockZ)) return cudaErrorInvalidConfiguration;
  if (block_size.x * block_size.y * block_size.z > kMaxThreadsPerBlock) return cudaErrorInvalidConfiguration;
  if (call.dynamic_shared_bytes > dynamic_shared_limit(call.kernel)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

}  // namespace

std::size_t dynamic_shared_limit(const void* kernel) {
  const auto found = limits().find(kernel);
  return found == limits().end() ? kSharedPerBlock : found->second;
}

void set_dynamic_shared_limit(const void* kernel, std::size_t bytes) { limits()[kernel] = bytes; }

std::uint64_t launch_count() { return launches; }

cudaError_t detail::launch(const Call& call, cudaStream_t stream) {
  const RuntimeLock lock;
  if (const cudaError_t error = check(call); error != cudaSuccess) return record_error(error);
  return record_error(submit(stream, [call] { block.run_grid(call, launches++); }));
}

}  // namespace accrue::emulator
