// Which accesses to memory come before the running thread's, by what CUDA's memory model promises: in a launch by
// barriers, __syncwarp(), and fences with atomics; between launches by the stream.
//
// An approximation that errs towards silence: a __syncwarp() of some lanes counts for the whole warp, and a fence for
// the whole block.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "kernels/emulator/block.h"

namespace accrue::emulator::checker {

// Who has accessed memory, and at what point of its work.
struct Access {
  std::uint32_t launch = 0;  // 0: nobody
  std::uint32_t block = 0;
  std::uint16_t thread = 0;
  std::uint16_t barriers = 0, warp_syncs = 0, fences = 0;  // that had been passed
  std::uint8_t bytes = 0;                                  // of the cell, as a mask
  bool atomic = false;
};

class AccessOrder {
 public:
  void launch_begins();
  void block_begins(std::uint64_t block);
  void barrier_completes() { ++barriers_; }
  void warp_synchronises(unsigned warp) { ++warp_syncs_[warp]; }
  void fence() { ++fences_; }
  // Blocks hand data to each other by a fence and then an atomic operation, on an address on which another one's atomic
  // operation follows.
  void atomic(const void* address);

  Access by_running_thread(std::uint8_t bytes, bool atomic) const;
  bool before_running_thread(const Access& access) const;

 private:
  using Fences =
      std::unordered_map<std::uint32_t, std::uint16_t>;  // by block: those that are known to have been passed

  std::uint32_t launch_ = 0, block_ = 0;
  std::uint16_t barriers_ = 0, fences_ = 0;
  std::array<std::uint16_t, kMaxWarps> warp_syncs_{};
  std::unordered_map<const void*, Fences> released_;  // by address
  Fences acquired_;
};

}  // namespace accrue::emulator::checker
