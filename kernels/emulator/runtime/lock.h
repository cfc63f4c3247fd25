// The runtime may be called from several host threads. One lock for all of it, kernels included: they run on the thread
// that waits for them.
#pragma once

#include <mutex>

namespace accrue::emulator {

class RuntimeLock {
 public:
  RuntimeLock() : lock_(mutex_) {}

 private:
  // Recursive, because functions of the runtime are made of others.
  static inline std::recursive_mutex mutex_;
  std::lock_guard<std::recursive_mutex> lock_;
};

}  // namespace accrue::emulator
