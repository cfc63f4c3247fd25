// __syncthreads() and its relatives.
#include "kernels/emulator/barrier.h"

#include "kernels/emulator/block.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/diagnosis.h"

namespace accrue::emulator {

void barrier(Location where) { block.barrier(0, where); }
int barrier_count(int vote, Location where) { return block.barrier(vote, where).count; }
int barrier_and(int vote, Location where) { return block.barrier(vote, where).all; }
int barrier_or(int vote, Location where) { return block.barrier(vote, where).any; }
void yield() { block.yield(); }

Votes Block::barrier(int vote, Location where) {
  const Wait wait{"__syncthreads()", where};
  if (at_barrier_ == 0) {
    barrier_ = where;
  } else if (!same_place(barrier_, where)) {
    fail_diverged("threads of a block meet at different barriers", wait);
  }
  votes_.count += vote != 0;
  votes_.all &= vote != 0;
  votes_.any |= vote != 0;
  warps_[detail::running.thread / kWarpSize].at_barrier |= 1u << detail::running.lane;
  ++at_barrier_;
  if (at_barrier_ == live_) release_barrier();
  suspend(wait);
  return result_;
}

void Block::release_barrier() {
  at_barrier_ = 0;
  result_ = votes_;
  votes_ = {};
  checker::barrier_completes();
  schedule_.renew_precedence();
  for (unsigned w = 0; w < warps(); ++w) {
    make_ready(w, warps_[w].at_barrier);
    warps_[w].at_barrier = 0;
  }
}

}  // namespace accrue::emulator
