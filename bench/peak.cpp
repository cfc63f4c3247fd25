#include "bench/peak.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "core/cuda_devices.h"
#include "kernels/matmul.h"
#include "kernels/threads.h"

namespace accrue::bench {
namespace {

constexpr std::int64_t copied_bytes = 256 << 20;
constexpr int copies = 5;

// The kernels' own threads, each with a share of the bytes.
void copy_on_all_cores(const Tensor& out, const Tensor& in) {
  const auto threads = static_cast<std::size_t>(kernels::thread_count());
  const std::size_t share = (in.bytes() + threads - 1) / threads;
#pragma omp parallel for num_threads(static_cast <int>(threads)) schedule(static)
  for (std::size_t thread = 0; thread < threads; ++thread) {
    const std::size_t begin = std::min(in.bytes(), thread * share), end = std::min(in.bytes(), begin + share);
    std::memcpy(out.raw() + begin, in.raw() + begin, end - begin);
  }
}

double measure_copy(Device device) {
  const Tensor in = Tensor::zeros({copied_bytes}, DType::u8, device),
               out = Tensor::zeros({copied_bytes}, DType::u8, device);
  const auto copy = [&](std::int64_t) {
    if (device.kind == DeviceKind::cuda)
      out.copy_from(in);
    else
      copy_on_all_cores(out, in);
  };
  seconds_of(device, 1, copy);
  double best = 0;
  for (int repetition = 0; repetition < 3; ++repetition)
    best = std::max(best, 2.0 * copied_bytes * copies / seconds_of(device, copies, copy));
  return best;
}

// Larger and larger squares, until one takes long enough that nothing but the products counts.
double measure_products(const Variant& variant) {
  constexpr std::int64_t largest = 8192;
  constexpr double long_enough = 2e-3;
  kernels::set_matmul_precision(variant.precision);
  double best = 0;
  for (std::int64_t n = 64; n <= largest; n *= 2) {
    const Tensor a = filled({n, n}, variant), b = filled({n, n}, variant), out = empty_like(a);
    const auto product = [&](std::int64_t) { kernels::matmul({.out = out, .a = a, .b = b, .transpose_b = true}); };
    seconds_of(variant.device, 1, product);
    constexpr int calls = 5;
    const double seconds = seconds_of(variant.device, calls, product) / calls;
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / seconds);
    if (seconds >= long_enough) break;
  }
  return best;
}

}  // namespace

double copy_peak(Device device) {
  static std::map<DeviceKind, double> measured;
  const auto [place, is_new] = measured.try_emplace(device.kind);
  if (is_new) place->second = measure_copy(device);
  return place->second;
}

double product_peak(const Variant& variant) {
  static std::map<std::tuple<DeviceKind, DType, kernels::MatmulPrecision>, double> measured;
  const auto [place, is_new] = measured.try_emplace({variant.device.kind, variant.dtype, variant.precision});
  if (is_new) place->second = variant.device.kind == DeviceKind::cuda ? measure_products(variant) : multiply_add_rate();
  return place->second;
}

}  // namespace accrue::bench
