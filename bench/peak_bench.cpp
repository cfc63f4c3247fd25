// The peaks themselves, which the other benchmarks' percentages are of.
#include <benchmark/benchmark.h>

#include <string>

#include "bench/bench.h"
#include "kernels/machine_peak.h"

namespace accrue::bench {
namespace {

// Measured once: one iteration of a second, so that what is reported a second is the peak.
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

// What compare.py asks for right after a run: measured again for every iteration.
void peak_fma_f32(benchmark::State& state) {
  double sum = 0;
  for (auto _ : state) sum += kernels::multiply_add_rate();
  state.counters["FLOP/s"] = sum / static_cast<double>(state.iterations());
}

const Registration registration([] {
  benchmark::RegisterBenchmark("peak_fma_f32", peak_fma_f32)->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const Device device : devices()) {
    const std::string name = Variant{.device = device}.device_name();
    report_once(
        "peak/copy/" + name, [device] { return kernels::copy_peak(device); }, "bytes/s");
    if (device.kind == DeviceKind::cpu) continue;
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
