// How the calls of a benchmark are timed, with operands that the caches hold and with operands that they do not.
#pragma once

#include <vector>

#include "bench/bench.h"

namespace accrue::bench {

// The calls of one benchmark with their operands, each made once already: pages are mapped, kernels loaded, algorithms
// chosen.
//
// Warm: the same operands every time. Those that the caches cannot hold are then as cold as they are in training.
// Cold on the CPU: before each call every core reads its caches full of something else (bench/caches.h).
// Cold on a GPU: the calls take turns on copies of the operands that together are several times its second-level cache.
// Throws Error where that would take very many: such a call is all launch, cold or not.
class Calls {
 public:
  Calls(Device device, Cache cache, const MakeWork& make);

  const Work& work() const { return copies_.front(); }
  // How many calls to make between two looks at the clock. Waiting for a GPU costs as much as a small kernel.
  std::int64_t batch() const;
  double seconds_of_batch(std::int64_t calls) const;
  // The median of several calls, before each of which the CPU's caches are emptied.
  double cold_seconds() const;

 private:
  Device device_;
  std::vector<Work> copies_;
  mutable std::size_t turn_ = 0;
};

}  // namespace accrue::bench
