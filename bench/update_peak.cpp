#include "bench/update_peak.h"

#include <algorithm>

#include "bench/bench.h"
#include "kernels/threads.h"

namespace accrue::bench {
namespace {

// Sums, lest the compiler leave anything out; of zeros, so that nothing grows.
void update(float* master, float* m, float* v, const float* gradient, std::int64_t count) {
#pragma omp parallel for simd schedule(static) num_threads(kernels::thread_count())
  for (std::int64_t i = 0; i < count; ++i) {
    m[i] += gradient[i];
    v[i] += gradient[i];
    master[i] += m[i] + v[i];
  }
}

double measure_update() {
  constexpr std::int64_t count = 31'118'976;  // arrays a power of two apart would meet in the same cache sets
  const Device cpu = Device::cpu();
  const auto zeros = [&] { return Tensor::zeros({count}, DType::f32, cpu); };
  const Tensor master = zeros(), m = zeros(), v = zeros(), gradient = zeros();
  const auto pass = [&](std::int64_t) {
    update(master.data<float>(), m.data<float>(), v.data<float>(), gradient.data<float>(), count);
  };
  double fastest = seconds_of(cpu, 1, pass);
  for (int repetition = 0; repetition < 10; ++repetition) fastest = std::min(fastest, seconds_of(cpu, 1, pass));
  return 7.0 * sizeof(float) * count / fastest;
}

}  // namespace

double cpu_update_peak() {
  static const double measured = measure_update();
  return measured;
}

}  // namespace accrue::bench
