// The CPU's peak: multiply-adds on every core, nothing loaded or stored.
#include <chrono>

#include "kernels/cpu/bf16_panels.h"
#include "kernels/machine_peak.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fma_peak.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int chains = 12;  // more than latency times throughput of any core there is (AVX2: 4 or 5 cycles, 2 a cycle)

// Runs `rounds` of one FMA in each chain, begun from `sink`; returns the FLOP and leaves there what depends on all
// chains.
double multiply_add(int rounds, float* sink) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const V factor = hn::Set(d, 0.999f), term = hn::Set(d, 0.001f);
  // Different beginnings, or the compiler would compute equal chains once.
  const auto start = [&](float value) HWY_ATTR { return hn::Set(d, *sink + value); };
  V a = start(1), b = start(2), c = start(3), e = start(4), f = start(5), g = start(6);
  V h = start(7), i = start(8), j = start(9), k = start(10), l = start(11), m = start(12);
  for (int round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, factor, term), b = hn::MulAdd(b, factor, term), c = hn::MulAdd(c, factor, term);
    e = hn::MulAdd(e, factor, term), f = hn::MulAdd(f, factor, term), g = hn::MulAdd(g, factor, term);
    h = hn::MulAdd(h, factor, term), i = hn::MulAdd(i, factor, term), j = hn::MulAdd(j, factor, term);
    k = hn::MulAdd(k, factor, term), l = hn::MulAdd(l, factor, term), m = hn::MulAdd(m, factor, term);
  }
  const V first = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(f, g));
  const V second = hn::Add(hn::Add(hn::Add(h, i), hn::Add(j, k)), hn::Add(l, m));
  *sink = hn::GetLane(hn::SumOfLanes(d, hn::Add(first, second)));
  return 2.0 * chains * rounds * static_cast<double>(hn::Lanes(d));
}

}  // namespace accrue::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue {

HWY_EXPORT(multiply_add);

namespace {

// Of all cores together; multiply_add(rounds, sink) returns a core's FLOP.
double rate_of(double (*multiply_add)(int, float*)) {
  constexpr int rounds = 1 << 20;
  double flop = 0;
  const auto begin = std::chrono::steady_clock::now();
#pragma omp parallel reduction(+ : flop)
  {
    float sink = 0;
    flop += multiply_add(rounds, &sink);
    [[maybe_unused]] const volatile float used = sink;  // or the compiler would leave the chains out
  }
  return flop / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

double kernels::multiply_add_rate() { return rate_of(HWY_DYNAMIC_DISPATCH(multiply_add)); }
double kernels::bf16_multiply_add_rate() { return rate_of(cpu::bf16_panels::multiply_add); }

}  // namespace accrue
#endif
