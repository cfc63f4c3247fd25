// The CPU's caches, and how to empty them.
#pragma once

#include <cstddef>

namespace accrue::bench {

// Bytes of the largest cache that the system tells of; a guess where it tells of none.
std::size_t last_level_cache_bytes();

// Leaves nothing in the caches of the kernels' cores that was there before: each reads a buffer of several times the
// last-level cache. Reads, because lines that were written would have to go to memory during the call that is timed.
void empty_cpu_caches();

}  // namespace accrue::bench
