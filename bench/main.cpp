// The benchmarks' main: registers those of the devices that are here. Its options are Google Benchmark's.
#include <benchmark/benchmark.h>

#include <cstdio>

#include "bench/bench.h"
#include "core/cuda_devices.h"
#include "kernels/threads.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("cpu_threads", std::to_string(accrue::kernels::thread_count()));
  benchmark::AddCustomContext("cuda",
                              accrue::cuda::usable(0) ? accrue::cuda::description(0) : accrue::cuda::why_unavailable());
  accrue::bench::Registration::run_all();
  if (benchmark::RunSpecifiedBenchmarks() == 0) {
    std::fprintf(stderr, "no benchmark matches; --benchmark_list_tests lists them\n");
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
