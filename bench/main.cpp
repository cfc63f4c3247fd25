// The benchmarks' main: registers those of the devices that are here. Its options are Google Benchmark's, and
// --device=cpu or --device=cuda, which leaves out the other.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "bench/bench.h"
#include "bench/machine.h"
#include "core/check.h"
#include "core/cuda_devices.h"

namespace {

using namespace accrue;

// Takes --device out of the arguments, where it is there.
void choose_device(int& argc, char** argv) {
  constexpr std::string_view option = "--device=";
  char** const end = argv + argc;
  char** const given = std::find_if(argv, end, [&](std::string_view word) { return word.starts_with(option); });
  if (given == end) return;
  const std::string_view name = std::string_view(*given).substr(option.size());
  if (name != "cpu" && name != "cuda") fail(ErrorKind::usage, "--device must be cpu or cuda, but is '{}'", name);
  if (name == "cuda" && !cuda::usable(0)) fail(ErrorKind::no_device, "{}", cuda::why_unavailable());
  bench::use_only(name == "cuda" ? DeviceKind::cuda : DeviceKind::cpu);
  std::copy(given + 1, end + 1, given);
  --argc;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    choose_device(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const auto& [name, value] : bench::machine_facts()) benchmark::AddCustomContext(name, value);
  bench::Registration::run_all();
  if (benchmark::RunSpecifiedBenchmarks() == 0) {
    std::fprintf(stderr, "no benchmark matches; --benchmark_list_tests lists them\n");
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
