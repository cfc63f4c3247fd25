#include "bench/caches.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "kernels/threads.h"

namespace accrue::bench {
namespace {

constexpr std::size_t guessed_bytes = 64 << 20;
// Three times: caches do not replace strictly by age, and those above the last level hold something besides it.
constexpr std::size_t times = 3;
constexpr std::size_t line_bytes = 64;

}  // namespace

std::size_t last_level_cache_bytes() {
  std::size_t largest = 0;
  for (const auto& cache : benchmark::CPUInfo::Get().caches)
    largest = std::max(largest, static_cast<std::size_t>(std::max(cache.size, 0)));
  return largest > 0 ? largest : guessed_bytes;
}

void empty_cpu_caches() {
  // Not zeros: pages of zeros that nobody wrote can all be the same one.
  static const std::vector<unsigned char> other(times * last_level_cache_bytes(), 1);
  // Each core reads all of it: how many share a cache is not known. It also leaves the threads awake for the call.
#pragma omp parallel num_threads(kernels::thread_count())
  {
    unsigned sum = 0;
    for (std::size_t i = 0; i < other.size(); i += line_bytes) sum += other[i];
    benchmark::DoNotOptimize(sum);
  }
}

}  // namespace accrue::bench
