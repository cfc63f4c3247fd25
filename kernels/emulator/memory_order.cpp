// Fences and atomic accesses.
#include <cstring>

#include "kernels/emulator/atomic_access.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/fence.h"

namespace accrue::emulator {

void fence_block() {}
void fence_device() { checker::fence(); }

void atomic_load(void* object, const void* memory, std::size_t bytes) {
  checker::atomic(memory, bytes);
  std::memcpy(object, memory, bytes);
}

void atomic_store(void* memory, const void* object, std::size_t bytes) { std::memcpy(memory, object, bytes); }

}  // namespace accrue::emulator
