#include "kernels/emulator/diagnosis.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/emulator/checker.h"
#include "kernels/emulator/exit_codes.h"

namespace accrue::emulator {
namespace {

std::string text(const Location& where) { return fmt::format("{}:{}", where.file, where.line); }
std::string text(const uint3& index) { return fmt::format("({},{},{})", index.x, index.y, index.z); }

// Threads that wait for the same thing.
struct Group {
  Wait wait;
  std::string threads;  // "0-31, 40"
  unsigned first = 0, last = 0;
};

void close_range(Group& group) {
  if (!group.threads.empty()) group.threads += ", ";
  group.threads +=
      group.first == group.last ? fmt::format("{}", group.first) : fmt::format("{}-{}", group.first, group.last);
}

Group& group_of(std::vector<Group>& groups, const Wait& wait, unsigned thread) {
  for (Group& group : groups) {
    if (std::strcmp(group.wait.operation, wait.operation) == 0 && same_place(group.wait.where, wait.where))
      return group;
  }
  // As if a range had ended just before this thread.
  return groups.emplace_back(Group{.wait = wait, .threads = "", .first = thread, .last = thread - 1});
}

// Lanes that wait for something; those that are ready or have not begun do not.
unsigned waiting_lanes(const Warp& warp) {
  unsigned lanes = warp.at_barrier;
  for (const Rendezvous& rendezvous : warp.rendezvous) lanes |= rendezvous.arrived;
  return lanes & warp.live;
}

std::vector<Group> waiting_threads() {
  std::vector<Group> groups;
  for (unsigned thread = 0; thread < block.threads(); ++thread) {
    const Warp& warp = block.warp(thread / kWarpSize);
    const unsigned lane = thread % kWarpSize;
    const bool is_running = thread == detail::running.thread;
    if (is_running || (waiting_lanes(warp) >> lane & 1) == 0) continue;
    Group& group = group_of(groups, warp.waits[lane], thread);
    if (thread != group.last + 1) {
      close_range(group);
      group.first = thread;
    }
    group.last = thread;
  }
  for (Group& group : groups) close_range(group);
  return groups;
}

unsigned live_threads() {
  unsigned count = 0;
  for (unsigned w = 0; w < block.warps(); ++w) count += static_cast<unsigned>(std::popcount(block.warp(w).live));
  return count;
}

void print_waiting_threads() {
  if (!block.runs()) return;
  for (const Group& group : waiting_threads()) {
    std::fprintf(stderr, "  waiting in %s at %s: threads %s\n", group.wait.operation, text(group.wait.where).c_str(),
                 group.threads.c_str());
  }
  const unsigned left = block.threads() - live_threads();
  if (left != 0) std::fprintf(stderr, "  %u of %u threads have left the kernel\n", left, block.threads());
}

[[noreturn]] void stop(int exit_code) {
  print_waiting_threads();
  std::fflush(nullptr);
  std::_Exit(exit_code);  // destructors must not run on the stack of a CUDA thread
}

}  // namespace

bool same_place(const Location& a, const Location& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string running_thread() {
  if (!block.runs()) return "no kernel runs";
  return fmt::format("kernel {}, block {}, thread {}", block.call()->name, text(detail::running.block_index),
                     text(detail::running.thread_index));
}

void fail(const char* what, Location where) {
  checker::engine_stops();
  std::fprintf(stderr, "emulator: %s, at %s\n  %s\n", what, text(where).c_str(), running_thread().c_str());
  stop(kExitFault);
}

void fail_diverged(const char* what, const Wait& here) {
  checker::engine_stops();
  std::fprintf(stderr, "emulator: %s\n  %s comes to %s at %s\n", what, running_thread().c_str(), here.operation,
               text(here.where).c_str());
  stop(kExitFault);
}

void fail_with_mask(const char* what, unsigned mask, const Wait& here) {
  checker::engine_stops();
  std::fprintf(stderr, "emulator: %s\n  %s, lane %u comes to %s with the mask 0x%08x at %s\n", what,
               running_thread().c_str(), lane(), here.operation, mask, text(here.where).c_str());
  stop(kExitFault);
}

void fail_deadlocked() {
  checker::engine_stops();
  std::fprintf(stderr, "emulator: deadlock: no thread of the block can go on\n  kernel %s, block %s\n",
               block.call()->name, text(detail::running.block_index).c_str());
  detail::running.thread = kMaxThreads;  // none runs: the list names all of them
  stop(kExitDeadlock);
}

}  // namespace accrue::emulator
