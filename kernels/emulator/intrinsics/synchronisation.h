// Barriers and fences.
#pragma once

#include <cstdlib>

#include "kernels/emulator/barrier.h"
#include "kernels/emulator/fence.h"
#include "kernels/emulator/location.h"

inline void __syncthreads(accrue::emulator::Location where = accrue::emulator::Location::current()) {
  accrue::emulator::barrier(where);
}
inline int __syncthreads_count(int vote, accrue::emulator::Location where = accrue::emulator::Location::current()) {
  return accrue::emulator::barrier_count(vote, where);
}
inline int __syncthreads_and(int vote, accrue::emulator::Location where = accrue::emulator::Location::current()) {
  return accrue::emulator::barrier_and(vote, where);
}
inline int __syncthreads_or(int vote, accrue::emulator::Location where = accrue::emulator::Location::current()) {
  return accrue::emulator::barrier_or(vote, where);
}

inline void __threadfence_block() { accrue::emulator::fence_block(); }
inline void __threadfence() { accrue::emulator::fence_device(); }
inline void __threadfence_system() { accrue::emulator::fence_device(); }

inline void __nanosleep(unsigned) { accrue::emulator::yield(); }
[[noreturn]] inline void __trap(accrue::emulator::Location where = accrue::emulator::Location::current()) {
  accrue::emulator::fail("__trap()", where);
}
