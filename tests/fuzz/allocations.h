// Bytes that operator new hands out, counted and limited: allocations.cpp replaces it in the program that it is linked
// into. zlib's own allocations, whose size is constant, are not among them.
#pragma once

#include <cstdint>

namespace accrue::fuzz {

// All bytes allocated since the program began, freed or not.
std::uint64_t allocated_bytes();

// While it lives, more allocated bytes than `bytes` in all, however briefly, are a finding: the process ends where the
// allocation is asked for. One at a time.
class AllocationLimit {
 public:
  explicit AllocationLimit(std::uint64_t bytes);
  ~AllocationLimit();
  AllocationLimit(const AllocationLimit&) = delete;
  AllocationLimit& operator=(const AllocationLimit&) = delete;
};
void lift_allocation_limit();

}  // namespace accrue::fuzz
