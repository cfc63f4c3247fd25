// Device memory and page-locked host memory: blocks of the exact size on the heap, so that AddressSanitizer sees where
// they end, full of 0xFF at first.
#pragma once

#include <driver_types.h>

#include <cstddef>

namespace accrue::emulator {

enum class MemoryKind { pageable, device, pinned };

// Of any address inside a block, or just behind it; `pageable` where no block is.
MemoryKind kind_of(const void* address);

cudaError_t allocate_device(void** memory, std::size_t bytes);  // within ACCRUE_EMULATOR_MEMORY
cudaError_t allocate_pinned(void** memory, std::size_t bytes);
cudaError_t release(void* memory, MemoryKind kind);  // an error where no block of this kind begins there

std::size_t device_bytes_in_use();

}  // namespace accrue::emulator
