// Bytes/s and FLOP/s as kernels/cross_entropy.h counts them.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kernels/cross_entropy.h"

namespace accrue::kernels {
namespace {

// Arguments: rows, V. The gradient of one iteration is the logits of the next: as good as any for the time.
void cross_entropy_bench(benchmark::State& state, LossGradient gradient) {
  const std::int64_t rows = state.range(0), classes = state.range(1);
  std::mt19937 generator(1);
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<std::size_t>(rows * classes));
  for (float& value : values) value = distribution(generator);
  std::vector<std::int32_t> classes_wanted(static_cast<std::size_t>(rows));
  for (std::int32_t& target : classes_wanted)
    target = static_cast<std::int32_t>(generator() % static_cast<unsigned>(classes));
  const Tensor logits = Tensor::from<float>(values, {rows, classes});
  const Tensor targets = Tensor::from<std::int32_t>(classes_wanted, {rows});
  const Tensor terms = empty_loss_terms(Device::cpu());
  for (auto _ : state) cross_entropy({.terms = terms, .logits = logits, .targets = targets, .gradient = gradient});
  const std::int64_t passes = gradient == LossGradient::in_place ? 2 : 1;
  state.SetBytesProcessed(state.iterations() * passes * rows * classes * static_cast<std::int64_t>(sizeof(float)));
  state.counters["FLOP/s"] =
      benchmark::Counter(6.0 * static_cast<double>(rows * classes), benchmark::Counter::kIsIterationInvariantRate);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"rows", "V"})->Unit(benchmark::kMillisecond)->UseRealTime();
  bench->Args({768, 65})->Args({2048, 256})->Args({256, 50257})->Args({1024, 10});
}

BENCHMARK_CAPTURE(cross_entropy_bench, forward, LossGradient::none)->Name("cross_entropy/forward")->Apply(sizes);
BENCHMARK_CAPTURE(cross_entropy_bench, gradient, LossGradient::in_place)->Name("cross_entropy/gradient")->Apply(sizes);

}  // namespace
}  // namespace accrue::kernels
