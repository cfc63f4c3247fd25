#include "kernels/emulator/checker/access_order.h"

#include <algorithm>

namespace accrue::emulator::checker {

void AccessOrder::launch_begins() {
  ++launch_;
  released_.clear();
}

void AccessOrder::block_begins(std::uint64_t block) {
  block_ = static_cast<std::uint32_t>(block);
  barriers_ = fences_ = 0;
  warp_syncs_ = {};
  acquired_.clear();
}

void AccessOrder::atomic(const void* address) {
  if (const auto found = released_.find(address); found != released_.end()) {
    for (const auto& [block, fences] : found->second) acquired_[block] = std::max(acquired_[block], fences);
  }
  if (fences_ == 0) return;
  Fences& released = released_[address];
  released[block_] = fences_;
  released.insert(acquired_.begin(), acquired_.end());
}

Access AccessOrder::by_running_thread(std::uint8_t bytes, bool atomic) const {
  const unsigned thread = thread_in_block();
  return {.launch = launch_,
          .block = block_,
          .thread = static_cast<std::uint16_t>(thread),
          .barriers = barriers_,
          .warp_syncs = warp_syncs_[thread / kWarpSize],
          .fences = fences_,
          .bytes = bytes,
          .atomic = atomic};
}

bool AccessOrder::before_running_thread(const Access& access) const {
  if (access.launch != launch_) return true;
  if (access.block != block_) {
    const auto known = acquired_.find(access.block);
    return known != acquired_.end() && known->second > access.fences;
  }
  const unsigned thread = thread_in_block(), warp = thread / kWarpSize;
  if (access.thread == thread || access.barriers != barriers_) return true;
  return access.thread / kWarpSize == warp && access.warp_syncs != warp_syncs_[warp];
}

}  // namespace accrue::emulator::checker
