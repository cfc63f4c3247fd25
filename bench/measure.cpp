#include "bench/measure.h"

#include <algorithm>

#include "bench/caches.h"

namespace accrue::bench {
namespace {

constexpr double cold_gpu_bytes = 256 << 20;  // several times the second-level cache of any GPU up to Hopper
constexpr double most_copies = 1024;
constexpr double seconds_of_a_batch = 2e-3;
constexpr double most_calls_of_a_batch = 1000;
// Of one cold measurement on the CPU. The median of three calls already passes over one that was disturbed.
constexpr double cold_seconds_wanted = 0.1;
constexpr std::size_t fewest_cold_calls = 3, most_cold_calls = 15;

std::vector<Work> copies_for(Device device, Cache cache, const MakeWork& make) {
  std::vector<Work> copies = {make()};
  if (device.kind == DeviceKind::cpu || cache == Cache::warm) return copies;
  const double wanted = cold_gpu_bytes / copies.front().bytes;
  check(wanted <= most_copies, "operands of {:.0f} bytes are too small to be cold on a GPU", copies.front().bytes);
  while (static_cast<double>(copies.size()) < wanted) copies.push_back(make());
  return copies;
}

}  // namespace

Calls::Calls(Device device, Cache cache, const MakeWork& make)
    : device_(device), copies_(copies_for(device, cache, make)) {
  seconds_of_batch(static_cast<std::int64_t>(copies_.size()));
}

std::int64_t Calls::batch() const {
  const auto count = static_cast<std::int64_t>(copies_.size());
  const double one = seconds_of_batch(count) / static_cast<double>(count);
  return static_cast<std::int64_t>(std::clamp(seconds_of_a_batch / one, 1.0, most_calls_of_a_batch));
}

double Calls::seconds_of_batch(std::int64_t calls) const {
  return seconds_of(device_, calls, [this](std::int64_t) { copies_[turn_++ % copies_.size()].call(); });
}

double Calls::cold_seconds() const {
  std::vector<double> seconds;
  const auto measure_one = [&](std::int64_t) {
    empty_cpu_caches();
    seconds.push_back(seconds_of_batch(1));
  };
  double spent = 0;
  while (seconds.size() < fewest_cold_calls || (spent < cold_seconds_wanted && seconds.size() < most_cold_calls))
    spent += seconds_of(device_, 1, measure_one);
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

}  // namespace accrue::bench
