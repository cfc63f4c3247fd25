#include "bench/machine.h"

#include <algorithm>
#include <cstdint>
#include <fstream>

#include "bench/caches.h"
#include "core/cuda_devices.h"
#include "hwy/targets.h"
#include "kernels/threads.h"

namespace accrue::bench {
namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  return "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

// The lowest bit is the best that the machine has.
std::string instruction_set() {
  const auto supported = static_cast<std::uint64_t>(hwy::SupportedTargets());
  return hwy::TargetName(static_cast<std::int64_t>(supported & (~supported + 1)));
}

std::string gemm_library() {
#ifdef ACCRUE_GEMM_ONEDNN
  return "oneDNN";
#else
  return "BLAS";
#endif
}

}  // namespace

std::vector<std::pair<std::string, std::string>> machine_facts() {
  return {{"cpu", cpu_model()},
          {"instruction_set", instruction_set()},
          {"cpu_threads", std::to_string(kernels::thread_count())},
          {"last_level_cache", std::to_string(last_level_cache_bytes())},
          {"cuda", cuda::usable(0) ? cuda::description(0) : cuda::why_unavailable()},
          {"compiler", compiler()},
          {"build_type", ACCRUE_BUILD_TYPE},
          {"gemm_library", gemm_library()}};
}

}  // namespace accrue::bench
