// Keeps a library that uses OpenMP on the calling thread.
#pragma once

#include <omp.h>

namespace accrue::kernels::cpu {

// While it lives, parallel regions that the calling thread starts have one thread. (Inside a parallel region that is so
// anyway; but a loop with a single part runs outside of one.)
class SingleThread {
 public:
  SingleThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~SingleThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int before_;
};

}  // namespace accrue::kernels::cpu
