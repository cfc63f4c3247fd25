// How much kernels read and write in global memory, counted. In checker builds alone: other builds do not link this.
#pragma once

#include <cstdint>

namespace accrue::emulator {

// Bytes of global memory (device memory, and pinned memory of the host) that the threads of kernels have accessed, each
// time that they did: a cache would show in a GPU's own counters, not here. An atomic operation reads and writes.
struct Traffic {
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
};

Traffic traffic();  // since the last reset_traffic(), or since the program began
void reset_traffic();

}  // namespace accrue::emulator
