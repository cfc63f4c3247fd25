// The shared memory of the block that runs.
//
// Dynamic shared memory is a heap block of the exact size, so that AddressSanitizer sees the ends of it. A __shared__
// variable is a static variable, as one block runs at a time.
#pragma once

#include <cstddef>

namespace accrue::emulator {

void* resize_dynamic_shared(std::size_t bytes);

// 0xFF in every byte, as no block may rely on what is there when it begins.
void poison_all_shared_memory();
// The same for the next block of the launch, for what it can tell that the blocks before have used.
void poison_used_shared_memory();

}  // namespace accrue::emulator
