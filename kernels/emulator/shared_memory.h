// The shared memory of the block that runs.
//
// Dynamic shared memory is a heap block of the exact size, so that AddressSanitizer sees the ends of it. A __shared__
// variable is a static one, which the macro (intrinsics/qualifiers.h) puts into a section of its own: so its content
// can be made undefined for every block.
#pragma once

#include <cstddef>

namespace accrue::emulator {

struct Extent {
  const void* begin;
  std::size_t bytes;
};

void* resize_dynamic_shared(std::size_t bytes);
Extent static_shared();

// 0xFF in every byte, as the device leaves anything there.
void poison_shared_memory();

}  // namespace accrue::emulator
