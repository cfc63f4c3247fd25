// Work sharing on the CPU, over OpenMP's threads. The GEMM library runs inside of them, one call on one thread.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace accrue::kernels::cpu {

// An upper bound of the slots that parallel_slots() hands out, if the caller asks from the same thread.
inline std::int64_t slot_count(std::int64_t n, std::int64_t grain) {
  return std::min<std::int64_t>((n + grain - 1) / grain, omp_get_max_threads());
}

// f(slot, begin, end) over contiguous parts of [0, n), one per thread; parts start at multiples of `grain`, and less
// than two grains of work stay on the calling thread. A slot in [0, slot_count(n, grain)) belongs to one part: it
// numbers the scratch memory of a thread. omp_get_thread_num() does not, since work that stays on the calling thread
// has the number that the thread has in whatever parallel region its caller runs.
template <class F>
void parallel_slots(std::int64_t n, std::int64_t grain, F&& f) {
  const std::int64_t grains = (n + grain - 1) / grain;
  const auto threads = static_cast<int>(slot_count(n, grain));
  if (threads <= 1) {
    if (n > 0) f(std::int64_t{0}, std::int64_t{0}, n);
    return;
  }
  std::exception_ptr failure = nullptr;  // an exception must not leave a parallel region
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    const std::int64_t begin = grains * part / parts * grain;
    const std::int64_t end = std::min(n, grains * (part + 1) / parts * grain);
    try {
      if (begin < end) f(part, begin, end);
    } catch (...) {
#pragma omp critical(accrue_parallel_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// f(begin, end) over contiguous parts of [0, n), cut as by parallel_slots. For work whose result does not depend on the
// partition: element-wise, or per row. Reductions over n use parallel_chunks instead.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
  parallel_slots(n, grain, [&](std::int64_t, std::int64_t begin, std::int64_t end) { f(begin, end); });
}

// How many chunks parallel_chunks makes of n.
inline std::int64_t chunk_count(std::int64_t n, std::int64_t chunk) { return (n + chunk - 1) / chunk; }
inline std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return chunk_count(n, multiple) * multiple; }

// f(index, begin, end) for every chunk [index * chunk, …) of [0, n). The partition depends on n and chunk alone, so
// partial results combined in the order of their index have the same bits for any number of threads.
template <class F>
void parallel_chunks(std::int64_t n, std::int64_t chunk, F&& f) {
  parallel_for(chunk_count(n, chunk), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t index = first; index < last; ++index) f(index, index * chunk, std::min(n, (index + 1) * chunk));
  });
}

}  // namespace accrue::kernels::cpu
