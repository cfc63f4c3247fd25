#include "bench/bench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "core/cuda_devices.h"
#include "kernels/machine_peak.h"

namespace accrue::bench {
namespace {

constexpr double cold_bytes = 256 << 20;  // several times the second-level cache of any GPU up to Hopper
constexpr double most_copies = 64;
constexpr double seconds_between_waits = 2e-3;
constexpr std::int64_t most_calls_between_waits = 1000;

std::vector<std::function<void()>>& registrations() {
  static std::vector<std::function<void()>> all;
  return all;
}

// The work with operands of its own, as often as it takes that none is in the GPU's cache when its turn comes. Not
// where that would take very many: such a call is all launch, cold or not.
std::vector<Work> cold_copies(Device device, const MakeWork& make) {
  std::vector<Work> copies = {make()};
  if (device.kind == DeviceKind::cpu || copies.front().bytes == 0) return copies;
  const double wanted = cold_bytes / copies.front().bytes;
  if (wanted > most_copies) return copies;
  while (static_cast<double>(copies.size()) < wanted) copies.push_back(make());
  return copies;
}

// Seconds a call of this work would take at the measured peak.
double ideal_seconds(const Work& work, const Variant& variant) {
  if (work.bound != Bound::products) return work.bytes / kernels::copy_peak(variant.device);
  return work.flop / kernels::product_peak(variant.device, variant.dtype, variant.precision);
}

void report(benchmark::State& state, const Work& work, const Variant& variant, double seconds) {
  const auto calls = static_cast<double>(state.iterations());
  if (work.bytes > 0) state.SetBytesProcessed(static_cast<std::int64_t>(calls * work.bytes));
  if (work.flop > 0)
    state.counters["FLOP/s"] = benchmark::Counter(work.flop, benchmark::Counter::kIsIterationInvariantRate);
  if (work.bound != Bound::nothing) state.counters["%peak"] = 100 * ideal_seconds(work, variant) * calls / seconds;
}

// Waiting for a GPU costs as much as a small kernel: many calls go by between two waits.
void measure(benchmark::State& state, const Variant& variant, const MakeWork& make) {
  kernels::set_matmul_precision(variant.precision);
  const std::vector<Work> copies = cold_copies(variant.device, make);
  const auto count = static_cast<std::int64_t>(copies.size());
  std::int64_t turn = 0;
  const auto call_in_turn = [&](std::int64_t) { copies[static_cast<std::size_t>(turn++ % count)].call(); };

  seconds_of(variant.device, count, call_in_turn);  // maps pages, loads kernels, chooses algorithms
  const double one = seconds_of(variant.device, count, call_in_turn) / static_cast<double>(count);
  const auto calls = static_cast<std::int64_t>(
      std::clamp<double>(seconds_between_waits / one, 1, static_cast<double>(most_calls_between_waits)));
  double seconds = 0;
  while (state.KeepRunningBatch(calls)) {
    const double taken = seconds_of(variant.device, calls, call_in_turn);
    state.SetIterationTime(taken);
    seconds += taken;
  }
  report(state, copies.front(), variant, seconds);
}

}  // namespace

std::string Variant::dtype_name() const {
  return precision == kernels::MatmulPrecision::tf32 ? "tf32" : std::string(name_of(dtype));
}

std::string Variant::device_name() const { return device.kind == DeviceKind::cuda ? "cuda" : "cpu"; }

std::vector<Device> devices() {
  std::vector<Device> all = {Device::cpu()};
  if (cuda::usable(0)) all.push_back(Device::cuda());
  return all;
}

std::vector<Variant> variants(Device device) {
  if (device.kind == DeviceKind::cpu) return {{.device = device}};
  return {{.device = device}, {.device = device, .dtype = DType::bf16}};
}

void add_benchmark(const std::string& name, const Variant& variant, const std::string& size, MakeWork make) {
  const std::string full = name + "/" + variant.dtype_name() + "/" + size + "/" + variant.device_name();
  benchmark::RegisterBenchmark(full.c_str(),
                               [variant, make = std::move(make)](benchmark::State& state) {
                                 try {
                                   measure(state, variant, make);
                                 } catch (const Error& error) {
                                   state.SkipWithError(error.what());
                                 }
                               })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
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
