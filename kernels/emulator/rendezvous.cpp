// Warp collectives.
#include <cstring>

#include "kernels/emulator/block.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/diagnosis.h"

namespace accrue::emulator {

detail::ExchangeResult detail::exchange(unsigned mask, const void* value, std::size_t bytes, const char* operation,
                                        Location where) {
  return block.exchange(mask, value, bytes, {operation, where});
}

namespace {

bool is_syncwarp(const Wait& wait) { return std::strcmp(wait.operation, kSyncWarp) == 0; }

// Lanes may come to __syncwarp() from different branches; other collectives have to be the same one for all.
bool meet(const Wait& a, const Wait& b) {
  if (a.operation != b.operation && std::strcmp(a.operation, b.operation) != 0) return false;
  return same_place(a.where, b.where) || is_syncwarp(a);
}

}  // namespace

detail::ExchangeResult Block::exchange(unsigned mask, const void* value, std::size_t bytes, const Wait& wait) {
  const unsigned w = detail::running.thread / kWarpSize, lane = detail::running.lane, bit = 1u << lane;
  if ((mask & bit) == 0) fail_with_mask("a lane calls a warp collective whose mask leaves it out", mask, wait);
  Warp& warp = warps_[w];
  Rendezvous& rendezvous = meeting(warp, mask);
  if (!rendezvous.gathers()) {
    rendezvous.wait = wait;
    ++warp.gathering;
  } else if (!meet(rendezvous.wait, wait)) {
    fail_diverged("lanes of one mask meet in different warp collectives", wait);
  }
  std::memcpy(rendezvous.rows[lane], value, bytes);
  rendezvous.arrived |= bit;
  if ((mask & warp.live & ~rendezvous.arrived) == 0) {
    complete(w, rendezvous);
    warp.ready &= ~bit;  // it never stopped
    if (warp.could_run() == 0) runnable_ &= ~(1u << w);
    if (schedule_.step_back()) yield();
  } else {
    suspend(wait);
  }
  rendezvous.unread &= ~bit;
  return {rendezvous.rows, rendezvous.lanes};
}

// The one that gathers lanes of this mask already, or one that nobody uses.
Rendezvous& Block::meeting(Warp& warp, unsigned mask) {
  for (Rendezvous& rendezvous : warp.rendezvous) {
    if (rendezvous.gathers() && rendezvous.mask == mask) return rendezvous;
  }
  Rendezvous* unused = warp.rendezvous.data();
  while (!unused->is_free()) ++unused;
  unused->mask = mask;
  return *unused;
}

void Block::complete(unsigned w, Rendezvous& rendezvous) {
  const unsigned lanes = rendezvous.arrived;
  rendezvous.arrived = 0;
  --warps_[w].gathering;
  rendezvous.lanes = rendezvous.unread = lanes;
  for (unsigned lane = 0; lanes != ~0u && lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1) == 0) std::memset(rendezvous.rows[lane], 0xFF, sizeof rendezvous.rows[lane]);
  }
  if (checker::kEnabled && is_syncwarp(rendezvous.wait)) checker::warp_synchronises(w);
  make_ready(w, lanes);
}

}  // namespace accrue::emulator
