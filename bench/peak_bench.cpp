// The peaks themselves, which the other benchmarks' percentages are of: the same numbers, since the process measures
// them once.
#include <benchmark/benchmark.h>

#include <string>

#include "bench/bench.h"
#include "bench/gemm_peak.h"
#include "bench/update_peak.h"
#include "kernels/machine_peak.h"

namespace accrue::bench {
namespace {

// One iteration of a second, so that what is reported a second is the peak.
void report_once(const std::string& name, std::function<double()> peak, const char* unit) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [peak = std::move(peak), unit](benchmark::State& state) {
                                 try {
                                   for (auto _ : state) state.SetIterationTime(1);
                                   state.counters[unit] = benchmark::Counter(peak());
                                 } catch (const Error& error) {
                                   state.SkipWithError(error.what());
                                 }
                               })
      ->UseManualTime()
      ->Iterations(1);
}

const Registration registration([] {
  for (const Device device : devices()) {
    const std::string name = Variant{.device = device}.device_name();
    report_once(
        "peak/copy/" + name, [device] { return kernels::copy_peak(device); }, "bytes/s");
    if (device.kind == DeviceKind::cpu) {
      report_once("peak/update/cpu", cpu_update_peak, "bytes/s");
      using enum kernels::MatmulPrecision;
      for (const Variant& variant : {Variant{.device = device}, Variant{.device = device, .precision = bf16}}) {
        if (variant.precision == bf16 && !kernels::cpu_multiplies_bf16()) continue;
        const std::string of = variant.dtype_name() + "/cpu";
        report_once(
            "peak/fma/" + of, [=] { return kernels::product_peak(device, variant.dtype, variant.precision); },
            "FLOP/s");
        report_once(
            "peak/gemm/" + of, [=] { return cpu_gemm_peak(variant.precision); }, "FLOP/s");
      }
      continue;
    }
    std::vector<Variant> products = variants(device);
    products.push_back({.device = device, .precision = kernels::MatmulPrecision::tf32});
    for (const Variant& variant : products)
      report_once(
          "peak/products/" + variant.dtype_name() + "/" + name,
          [variant] { return kernels::product_peak(variant.device, variant.dtype, variant.precision); }, "FLOP/s");
  }
});

}  // namespace
}  // namespace accrue::bench
