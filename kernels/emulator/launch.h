// Launches, between the stream that orders them and the block engine that runs them.
#pragma once

#include <cstddef>

#include "kernels/emulator/emulator.h"

namespace accrue::emulator {

// The dynamic shared memory that a kernel may be launched with, and what cudaFuncSetAttribute() makes of it.
std::size_t dynamic_shared_limit(const void* kernel);
void set_dynamic_shared_limit(const void* kernel, std::size_t bytes);

}  // namespace accrue::emulator
