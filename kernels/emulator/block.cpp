#include "kernels/emulator/block.h"

#include "kernels/emulator/checker.h"
#include "kernels/emulator/copy_async.h"
#include "kernels/emulator/diagnosis.h"
#include "kernels/emulator/shared_memory.h"

namespace accrue::emulator {

using detail::running;

constinit detail::Running detail::running;
Block block;

void Block::run_grid(const detail::Call& call, std::uint64_t launch) {
  begin_launch(call, launch);
  const dim3& grid = call.grid;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  schedule_.begin_launch(blocks, warps(), launch);
  for (std::uint64_t turn = 0; turn < blocks; ++turn) {
    turn == 0 ? poison_all_shared_memory() : poison_used_shared_memory();
    run(schedule_.block(turn));
  }
  checker::launch_ends();
  call_ = nullptr;
}

void Block::begin_launch(const detail::Call& call, std::uint64_t launch) {
  install_fault_handlers();
  call_ = &call;
  host_ = &Fiber::current();
  const dim3& size = call.block;
  threads_ = size.x * size.y * size.z;
  for (unsigned t = 0; t < threads_; ++t) thread_indices_[t] = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
  running.block_dim = size;
  running.grid_dim = call.grid;
  running.dynamic_shared = resize_dynamic_shared(call.dynamic_shared_bytes);
  checker::launch_begins(call, launch);
}

void Block::run(std::uint64_t index) {
  const dim3& grid = call_->grid;
  index_ = index;
  running.block_index = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
                         static_cast<unsigned>(index / (std::uint64_t{grid.x} * grid.y))};
  reset_threads();
  forget_copies();
  schedule_.renew_precedence();
  checker::block_begins(index);
  next(runnable_).resume();
  checker::block_ends();
}

void Block::reset_threads() {
  live_ = threads_;
  at_barrier_ = 0;
  votes_ = {};
  runnable_ = 0;
  for (unsigned w = 0; w < warps(); ++w) {
    const unsigned lanes = threads_ - w * kWarpSize;
    Warp& warp = warps_[w];
    warp.live = warp.unstarted = lanes >= kWarpSize ? ~0u : (1u << lanes) - 1;
    warp.ready = warp.at_barrier = warp.gathering = 0;
    runnable_ |= 1u << w;
  }
}

// A fiber that is free takes one thread after the other, so that kernels without barriers hardly switch at all.
void Block::run_threads() {
  for (;;) {
    const unsigned thread = block.starting_;
    Fiber& own = Fiber::current();
    block.warps_[thread / kWarpSize].fibers[thread % kWarpSize] = &own;
    block.make_running(thread);
    block.call_->run(block.call_->arguments.get());
    block.leave(thread);
    block.unused_.push_back(&own);
    block.next(block.runnable_).resume();  // returns at once where it has chosen this fiber
  }
}

void Block::leave(unsigned thread) {
  const unsigned w = thread / kWarpSize, bit = 1u << thread % kWarpSize;
  Warp& warp = warps_[w];
  warp.live &= ~bit;
  --live_;
  // Who waits for a thread that has left waits no longer.
  if (warp.gathering != 0) {
    for (Rendezvous& rendezvous : warp.rendezvous) {
      if (rendezvous.gathers() && (rendezvous.mask & warp.live & ~rendezvous.arrived) == 0) complete(w, rendezvous);
    }
  }
  if (at_barrier_ != 0 && at_barrier_ == live_) release_barrier();
}

Fiber& Block::next(unsigned warps) {
  if (warps == 0) {
    if (live_ == 0) return *host_;
    fail_deadlocked();
  }
  const unsigned w = schedule_.warp(warps);
  Warp& warp = warps_[w];
  const unsigned lane = schedule_.lane(warp.could_run()), bit = 1u << lane, thread = w * kWarpSize + lane;
  const bool begins = (warp.unstarted & bit) != 0;
  warp.unstarted &= ~bit;
  warp.ready &= ~bit;
  if (warp.could_run() == 0) runnable_ &= ~(1u << w);
  if (begins) {
    starting_ = thread;
    return unused_fiber();
  }
  make_running(thread);
  return *warp.fibers[lane];
}

Fiber& Block::unused_fiber() {
  if (unused_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Block::run_threads));
    unused_.push_back(fibers_.back().get());
  }
  Fiber& fiber = *unused_.back();
  unused_.pop_back();
  return fiber;
}

void Block::make_running(unsigned thread) {
  running.thread = thread;
  running.lane = thread % kWarpSize;
  running.thread_index = thread_indices_[thread];
}

void Block::suspend(const Wait& wait) {
  warps_[running.thread / kWarpSize].waits[running.lane] = wait;
  next(runnable_).resume();
}

void Block::make_ready(unsigned warp, unsigned lanes) {
  if (lanes == 0) return;
  warps_[warp].ready |= lanes;
  runnable_ |= 1u << warp;
}

void Block::yield() {
  const unsigned w = running.thread / kWarpSize, others = runnable_ & ~(1u << w);
  make_ready(w, 1u << running.lane);
  next(others != 0 ? others : runnable_).resume();
}

}  // namespace accrue::emulator
