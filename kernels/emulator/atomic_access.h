// How atomic operations reach memory. Threads take turns only at barriers and collectives, so reading and writing one
// after the other is atomic here; the checker learns that it was meant to be.
#pragma once

#include <cstddef>

namespace accrue::emulator {

// Copies between an object and memory. Not inline: the compiler must not instrument these for the checker.
void atomic_load(void* object, const void* memory, std::size_t bytes);
void atomic_store(void* memory, const void* object, std::size_t bytes);

}  // namespace accrue::emulator
