#include "kernels/machine_peak.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "core/cuda_devices.h"
#include "core/tensor.h"
#include "kernels/cast.h"
#include "kernels/cpu/bf16_product.h"
#include "kernels/matmul.h"
#include "kernels/threads.h"

namespace accrue::kernels {
namespace {

constexpr std::int64_t copied_bytes = 256 << 20;
constexpr int copies = 5;

// Makes the calls one after the other and waits for them.
double seconds_of(Device device, int calls, const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  if (device.kind == DeviceKind::cuda) accrue::cuda::synchronize(device.index);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// The kernels' own threads, each with a share of the bytes.
void copy_on_all_cores(const Tensor& out, const Tensor& in) {
  const auto threads = static_cast<std::size_t>(thread_count());
  const std::size_t share = (in.bytes() + threads - 1) / threads;
#pragma omp parallel for num_threads(static_cast <int>(threads)) schedule(static)
  for (std::size_t thread = 0; thread < threads; ++thread) {
    const std::size_t begin = std::min(in.bytes(), thread * share), end = std::min(in.bytes(), begin + share);
    std::memcpy(out.raw() + begin, in.raw() + begin, end - begin);
  }
}

double measure_copy(Device device) {
  const Tensor in = Tensor::zeros({copied_bytes}, DType::u8, device, Category::workspace),
               out = Tensor::zeros({copied_bytes}, DType::u8, device, Category::workspace);
  const auto copy = [&] {
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

// Normally distributed: a GPU multiplies zeros at a higher clock. The same few values again and again.
Tensor square(std::int64_t n, DType dtype, Device device) {
  const std::int64_t drawn = std::min<std::int64_t>(n * n, 1 << 18);
  std::mt19937 generator(1);
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<std::size_t>(drawn));
  for (float& value : values) value = distribution(generator);
  const Tensor source = as_dtype(Tensor::from<float>(values, {drawn}, device, Category::workspace), dtype);
  const Tensor matrix = Tensor::empty({n, n}, dtype, device, Category::workspace);
  for (std::int64_t begin = 0; begin < n * n; begin += drawn) matrix.view({drawn}, begin).copy_from(source);
  return matrix;
}

// Larger and larger squares, until one takes long enough that nothing but the products counts.
double measure_products(Device device, DType dtype) {
  constexpr std::int64_t largest = 8192;
  constexpr double long_enough = 2e-3;
  double best = 0;
  for (std::int64_t n = 64; n <= largest; n *= 2) {
    const Tensor a = square(n, dtype, device), b = square(n, dtype, device);
    const Tensor out = Tensor::empty({n, n}, dtype, device, Category::workspace);
    const auto product = [&] { matmul({.out = out, .a = a, .b = b, .transpose_b = true}); };
    seconds_of(device, 1, product);
    constexpr int calls = 5;
    const double seconds = seconds_of(device, calls, product) / calls;
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / seconds);
    if (seconds >= long_enough) break;
  }
  return best;
}

double measure_products(Device device, DType dtype, MatmulPrecision precision) {
  const ProductsIn products(precision);
  return measure_products(device, dtype);
}

// Best of some, as other work on the machine may take a core for as long as one lasts.
double best_of(double (*rate)()) {
  double best = 0;
  for (int repetition = 0; repetition < 10; ++repetition) best = std::max(best, rate());
  return best;
}

double measure_multiply_adds(MatmulPrecision precision) {
  return best_of(precision == MatmulPrecision::bf16 && cpu::has_bf16_products() ? bf16_multiply_add_rate
                                                                                : multiply_add_rate);
}

}  // namespace

double copy_peak(Device device) {
  static std::map<DeviceKind, double> measured;
  double& peak = measured[device.kind];
  if (peak == 0) peak = measure_copy(device);
  return peak;
}

double product_peak(Device device, DType dtype, MatmulPrecision precision) {
  static std::map<std::tuple<DeviceKind, DType, MatmulPrecision>, double> measured;
  double& peak = measured[{device.kind, dtype, precision}];
  if (peak == 0)
    peak =
        device.kind == DeviceKind::cuda ? measure_products(device, dtype, precision) : measure_multiply_adds(precision);
  return peak;
}

}  // namespace accrue::kernels
