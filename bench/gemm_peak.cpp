#include "bench/gemm_peak.h"

#include <algorithm>
#include <map>

#include "bench/bench.h"
#include "kernels/matmul.h"

namespace accrue::bench {
namespace {

// Larger and larger squares, until one takes long enough that packing, threads' meetings and edges are nothing beside
// it.
double measure_gemm(kernels::MatmulPrecision precision) {
  constexpr std::int64_t smallest = 256, largest = 4096;
  constexpr double long_enough = 20e-3;
  constexpr int calls = 5;
  const Variant variant{.device = Device::cpu()};
  const kernels::ProductsIn products(precision);
  double best = 0;
  for (std::int64_t n = smallest; n <= largest; n *= 2) {
    const Tensor a = filled({n, n}, variant), b = filled({n, n}, variant), out = empty_like(a);
    const auto product = [&](std::int64_t) { kernels::matmul({.out = out, .a = a, .b = b, .transpose_b = true}); };
    seconds_of(variant.device, 1, product);
    double fastest = seconds_of(variant.device, 1, product);
    for (int call = 1; call < calls; ++call) fastest = std::min(fastest, seconds_of(variant.device, 1, product));
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / fastest);
    if (fastest >= long_enough) break;
  }
  return best;
}

}  // namespace

double cpu_gemm_peak(kernels::MatmulPrecision precision) {
  static std::map<kernels::MatmulPrecision, double> measured;
  double& peak = measured[precision];
  if (peak == 0) peak = measure_gemm(precision);
  return peak;
}

}  // namespace accrue::bench
