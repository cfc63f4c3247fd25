// The barriers of a block, for the CUDA functions that are made of them.
#pragma once

#include "kernels/emulator/location.h"

namespace accrue::emulator {

void barrier(Location where);
// Also how many, whether all, and whether any of the threads have a vote other than 0.
int barrier_count(int vote, Location where);
int barrier_and(int vote, Location where);
int barrier_or(int vote, Location where);

// Lets other warps run before the calling thread goes on, which no kernel may rely on.
void yield();

}  // namespace accrue::emulator
