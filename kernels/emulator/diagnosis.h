// What the emulator says when it stops a program.
#pragma once

#include <string>

#include "kernels/emulator/block.h"

namespace accrue::emulator {

// In messages and for comparison: the one collective that lanes may come to from different places.
inline constexpr const char* kSyncWarp = "__syncwarp()";

bool same_place(const Location& a, const Location& b);

// "kernel layernorm_forward, block (0,2,0), thread (33,0,0)", or that none runs.
std::string running_thread();

// Threads of a block, or lanes of a warp, that should be at one place and are not.
[[noreturn]] void fail_diverged(const char* what, const Wait& here);
[[noreturn]] void fail_with_mask(const char* what, unsigned mask, const Wait& here);
[[noreturn]] void fail_deadlocked();

// From now on, a signal such as SIGSEGV in a kernel is reported with kernel, block and thread before it ends the
// process.
void install_fault_handlers();

}  // namespace accrue::emulator
