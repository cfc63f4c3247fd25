#include "bench/bench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>

#include "bench/gemm_peak.h"
#include "bench/measure.h"
#include "bench/update_peak.h"
#include "core/cuda_devices.h"
#include "kernels/machine_peak.h"

namespace accrue::bench {
namespace {

std::vector<std::function<void()>>& registrations() {
  static std::vector<std::function<void()>> all;
  return all;
}

std::optional<DeviceKind>& only_kind() {
  static std::optional<DeviceKind> kind;
  return kind;
}

double ideal_seconds(const Work& work, const Variant& variant) {
  if (work.bound == Bound::update && variant.device.kind == DeviceKind::cpu) return work.bytes / cpu_update_peak();
  if (work.bound != Bound::products) return work.bytes / kernels::copy_peak(variant.device);
  return work.flop / kernels::product_peak(variant.device, variant.dtype, variant.precision);
}

void report(benchmark::State& state, const Work& work, const Variant& variant, double seconds_a_call) {
  const auto calls = static_cast<double>(state.iterations());
  if (work.bytes > 0) state.SetBytesProcessed(static_cast<std::int64_t>(calls * work.bytes));
  if (work.flop > 0)
    state.counters["FLOP/s"] = benchmark::Counter(work.flop, benchmark::Counter::kIsIterationInvariantRate);
  if (work.bound != Bound::nothing) state.counters["%peak"] = 100 * ideal_seconds(work, variant) / seconds_a_call;
  if (work.bound == Bound::products && variant.device.kind == DeviceKind::cpu)
    state.counters["%gemm"] = 100 * work.flop / cpu_gemm_peak(variant.precision) / seconds_a_call;
}

// `batch` is found in the first run and stays: Google Benchmark wants as many iterations in every repetition.
void run_in_batches(benchmark::State& state, const Variant& variant, const Calls& calls, std::int64_t& batch) {
  if (batch == 0) batch = calls.batch();
  double seconds = 0;
  while (state.KeepRunningBatch(batch)) {
    const double taken = calls.seconds_of_batch(batch);
    state.SetIterationTime(taken);
    seconds += taken;
  }
  report(state, calls.work(), variant, seconds / static_cast<double>(state.iterations()));
}

// One iteration, whose time is the median of its calls: emptying the caches takes longer than most calls, and does not
// count as measured time, of which --benchmark_min_time would demand much.
void run_cold_on_cpu(benchmark::State& state, const Variant& variant, const Calls& calls) {
  double seconds = 0;
  for (auto _ : state) {
    seconds = calls.cold_seconds();
    state.SetIterationTime(seconds);
  }
  report(state, calls.work(), variant, seconds);
}

void register_one(const std::string& name, const Variant& variant, Cache cache, const MakeWork& make) {
  const bool empties_caches = cache == Cache::cold && variant.device.kind == DeviceKind::cpu;
  auto* registered = benchmark::RegisterBenchmark(
      name.c_str(), [=, batch = std::make_shared<std::int64_t>(0)](benchmark::State& state) {
        try {
          kernels::set_matmul_precision(variant.precision);
          const Calls calls(variant.device, cache, make);
          empties_caches ? run_cold_on_cpu(state, variant, calls) : run_in_batches(state, variant, calls, *batch);
        } catch (const Error& error) {
          state.SkipWithError(error.what());
        }
      });
  registered->UseManualTime()->Unit(benchmark::kMicrosecond);
  if (empties_caches) registered->Iterations(1);
}

bool is_all_launch(Device device, const std::string& size) {
  return device.kind == DeviceKind::cuda && (size == tiny.name || size == odd_small.name);
}

}  // namespace

std::string Variant::dtype_name() const {
  if (precision == kernels::MatmulPrecision::tf32) return "tf32";
  if (precision == kernels::MatmulPrecision::bf16) return "bf16";
  return std::string(name_of(dtype));
}

std::string Variant::device_name() const { return device.kind == DeviceKind::cuda ? "cuda" : "cpu"; }

std::vector<Device> devices() {
  std::vector<Device> all = {Device::cpu()};
  if (cuda::usable(0)) all.push_back(Device::cuda());
  if (only_kind()) std::erase_if(all, [](Device device) { return device.kind != *only_kind(); });
  return all;
}

void use_only(DeviceKind kind) { only_kind() = kind; }

std::vector<Variant> variants(Device device) {
  if (device.kind == DeviceKind::cpu) return {{.device = device}};
  return {{.device = device}, {.device = device, .dtype = DType::bf16}};
}

void add_benchmark(const std::string& name, const Variant& variant, const std::string& size, MakeWork make,
                   const std::vector<Cache>& caches) {
  const std::string full = name + "/" + variant.dtype_name() + "/" + size + "/" + variant.device_name();
  for (const Cache cache : caches) {
    if (cache == Cache::cold && is_all_launch(variant.device, size)) continue;
    register_one(full + (cache == Cache::warm ? "/warm" : "/cold"), variant, cache, make);
  }
}

Registration::Registration(std::function<void()> add) { registrations().push_back(std::move(add)); }

void Registration::run_all() {
  for (const auto& add : registrations()) add();
}

Tensor filled(const Shape& shape, DType dtype, Device device) {
  constexpr std::int64_t block = 1 << 18;
  static const std::vector<float> values = [] {
    std::mt19937 generator(1);
    std::normal_distribution<float> distribution;
    std::vector<float> drawn(block);
    for (float& value : drawn) value = distribution(generator);
    return drawn;
  }();
  const Tensor tensor = Tensor::empty(shape, dtype, device);
  if (tensor.numel() == 0) return tensor;
  const std::int64_t repeated = std::min(block, tensor.numel());
  const Tensor source = dispatch_float(dtype, "filled", [&](auto tag) {
    const std::vector<decltype(tag)> converted(values.begin(), values.begin() + repeated);
    return Tensor::from<decltype(tag)>(converted, {repeated}, device, Category::activations);
  });
  for (std::int64_t begin = 0; begin < tensor.numel(); begin += repeated) {
    const Shape part{std::min(repeated, tensor.numel() - begin)};
    tensor.view(part, begin).copy_from(source.view(part));
  }
  return tensor;
}

Tensor random_ids(const Shape& shape, std::int64_t limit, Device device) {
  std::mt19937 generator(1);
  std::vector<std::int32_t> values(static_cast<std::size_t>(shape.numel()));
  for (std::int32_t& value : values) value = static_cast<std::int32_t>(generator() % static_cast<unsigned>(limit));
  return Tensor::from<std::int32_t>(values, shape, device);
}

double seconds_of(Device device, std::int64_t calls, const std::function<void(std::int64_t)>& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < calls; ++i) call(i);
  if (device.kind == DeviceKind::cuda) cuda::synchronize(device.index);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace accrue::bench
