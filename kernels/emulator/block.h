// The block that runs: its threads, who of them can go on, and what the others wait for. There is one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/emulator/emulator.h"
#include "kernels/emulator/fiber.h"
#include "kernels/emulator/schedule.h"

namespace accrue::emulator {

inline constexpr unsigned kWarpSize = 32, kMaxWarps = 32, kMaxThreads = kWarpSize * kMaxWarps;

// What a suspended thread has come to.
struct Wait {
  const char* operation = nullptr;
  Location where;
};

// The meeting of the lanes of one mask. It gathers them, then serves the values until each has taken them.
struct Rendezvous {
  unsigned mask = 0;
  unsigned arrived = 0;  // while it gathers
  unsigned unread = 0;   // lanes that have not taken the values yet
  unsigned lanes = 0;    // those that took part
  Wait wait;
  alignas(16) std::byte rows[kWarpSize][detail::kExchangeBytes];

  bool gathers() const { return arrived != 0; }
  bool is_free() const { return arrived == 0 && unread == 0; }
};

struct Warp {
  unsigned live = 0;        // lanes that have not left the kernel
  unsigned unstarted = 0;   // of these, those that have not begun
  unsigned ready = 0;       // suspended, but free to go on
  unsigned at_barrier = 0;  // suspended in __syncthreads()
  unsigned gathering = 0;   // meetings that wait for lanes
  std::array<Fiber*, kWarpSize> fibers{};
  std::array<Wait, kWarpSize> waits{};
  // A lane is in one of them at a time, so that there is always another one free.
  std::array<Rendezvous, kWarpSize + 1> rendezvous;

  unsigned could_run() const { return unstarted | ready; }
};

// What __syncthreads_count(), _and() and _or() give.
struct Votes {
  int count = 0, all = 1, any = 0;
};

class Block {
 public:
  // Runs every block of the grid.
  void run_grid(const detail::Call& call, std::uint64_t launch);

  // For the running thread.
  Votes barrier(int vote, Location where);
  detail::ExchangeResult exchange(unsigned mask, const void* value, std::size_t bytes, const Wait& wait);
  void yield();  // lets threads of other warps run first

  // For messages.
  bool runs() const { return call_ != nullptr; }
  const detail::Call* call() const { return call_; }
  unsigned threads() const { return threads_; }
  const Warp& warp(unsigned index) const { return warps_[index]; }
  unsigned warps() const { return (threads_ + kWarpSize - 1) / kWarpSize; }
  std::uint64_t index() const { return index_; }

 private:
  void begin_launch(const detail::Call& call, std::uint64_t launch);
  void run(std::uint64_t index);
  void reset_threads();

  [[noreturn]] static void run_threads();  // the body of each fiber
  void leave(unsigned thread);             // the thread has returned from the kernel

  void suspend(const Wait& wait);
  Fiber& next(unsigned warps);  // chooses who goes on among these warps, and makes it the running thread
  Fiber& unused_fiber();
  void make_running(unsigned thread);
  void make_ready(unsigned warp, unsigned lanes);
  void release_barrier();

  Rendezvous& meeting(Warp& warp, unsigned mask);
  void complete(unsigned warp, Rendezvous& rendezvous);

  const detail::Call* call_ = nullptr;
  unsigned threads_ = 0;
  std::uint64_t index_ = 0;
  std::array<uint3, kMaxThreads> thread_indices_{};
  std::array<Warp, kMaxWarps> warps_;
  Schedule schedule_;

  unsigned runnable_ = 0;  // warps with a lane that could run
  unsigned live_ = 0, at_barrier_ = 0;
  Votes votes_, result_;
  Location barrier_;  // where the first of those at the barrier has come to it

  unsigned starting_ = 0;  // the thread that the next fiber to be free begins
  Fiber* host_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> unused_;
};

extern Block block;

}  // namespace accrue::emulator
