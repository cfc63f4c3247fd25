#include "kernels/threads.h"

#include <omp.h>

#include "core/check.h"

namespace accrue::kernels {

void set_thread_count(int threads) {
  check(threads >= 1, "set_thread_count: at least 1 thread is needed, but got {}", threads);
  omp_set_num_threads(threads);
}

int thread_count() { return omp_get_max_threads(); }

void on_every_thread(const std::function<void()>& call) {
#pragma omp parallel
  call();
}

}  // namespace accrue::kernels
