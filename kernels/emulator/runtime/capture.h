// The recording of work into a graph, which streams do instead of running it.
#pragma once

#include <driver_types.h>

#include <cstdint>
#include <map>
#include <vector>

#include "kernels/emulator/runtime/stream.h"

struct CUgraph_st {
  std::vector<accrue::emulator::Work> nodes;  // in the order of the calls, which respects every dependency
};

struct CUgraphExec_st {
  std::vector<accrue::emulator::Work> nodes;
};

namespace accrue::emulator {

// How far a place in a capture knows the work of each stream: positions by the stream's number.
using CaptureClock = std::map<std::uint64_t, std::uint64_t>;

// One capture, by the stream that began it and those that joined by waiting for an event of it.
class Capture {
 public:
  Capture(std::uint64_t origin, cudaStreamCaptureMode mode) : origin_(origin), mode_(mode) { clocks_[origin]; }

  cudaError_t add(std::uint64_t stream, Work work);
  cudaError_t invalidate(cudaError_t error);  // returns the error of the call that does it
  bool valid() const { return valid_; }

  // For events: what the stream knows now, and that a stream (which joins by it) waits for that.
  CaptureClock now(std::uint64_t stream) const { return clocks_.at(stream); }
  void wait(std::uint64_t stream, const CaptureClock& clock);

  std::uint64_t origin() const { return origin_; }
  bool joined() const;  // does the origin know all the work of the others?
  std::vector<std::uint64_t> streams() const;
  CUgraph_st take() { return {std::move(nodes_)}; }

  // Calls that a capture does not bear, such as allocations, fail while one in a mode other than relaxed goes on, and
  // it fails with them.
  static cudaError_t forbid_here();

 private:
  std::uint64_t origin_;
  cudaStreamCaptureMode mode_;
  bool valid_ = true;
  std::map<std::uint64_t, CaptureClock> clocks_;
  std::vector<Work> nodes_;
};

}  // namespace accrue::emulator
