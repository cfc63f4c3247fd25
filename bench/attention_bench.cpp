// FLOP/s and bytes/s as kernels/attention.h counts them: the causal half only.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/attention.h"

namespace accrue::kernels {
namespace {

Tensor random_tensor(const Shape& shape) {
  std::mt19937 generator(1);
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (float& value : values) value = distribution(generator);
  return Tensor::from<float>(values, shape);
}

// The operands for the arguments B, H, T, D and 100 * dropout.
struct Operands {
  explicit Operands(const benchmark::State& state)
      : batch(state.range(0)),
        heads(state.range(1)),
        tokens(state.range(2)),
        channels(heads * state.range(3)),
        qkv(random_tensor({batch, tokens, 3 * channels})),
        dy(random_tensor({batch, tokens, channels})),
        dqkv(Tensor::empty(qkv.shape())),
        y(Tensor::empty(dy.shape())),
        logsumexp(Tensor::empty({batch, heads, tokens})),
        scale(1.0f / std::sqrt(static_cast<float>(state.range(3)))),
        dropout_p(static_cast<float>(state.range(4)) / 100) {}

  void forward() const {
    attention_forward({.y = y,
                       .logsumexp = logsumexp,
                       .qkv = qkv,
                       .heads = static_cast<int>(heads),
                       .scale = scale,
                       .dropout_p = dropout_p});
  }
  void backward() const {
    attention_backward({.dqkv = dqkv,
                        .dy = dy,
                        .y = y,
                        .logsumexp = logsumexp,
                        .qkv = qkv,
                        .heads = static_cast<int>(heads),
                        .scale = scale,
                        .dropout_p = dropout_p});
  }

  std::int64_t batch, heads, tokens, channels;
  Tensor qkv, dy, dqkv, y, logsumexp;
  float scale, dropout_p;
};

void report(benchmark::State& state, const Operands& operands, double flop_factor, std::int64_t byte_factor) {
  const std::int64_t rows = operands.batch * operands.tokens;
  const double flop = flop_factor / 2 * static_cast<double>(rows * operands.tokens * operands.channels);
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  state.SetBytesProcessed(state.iterations() * byte_factor * rows * operands.channels *
                          static_cast<std::int64_t>(sizeof(float)));
}

void attention_forward_bench(benchmark::State& state) {
  const Operands operands(state);
  for (auto _ : state) operands.forward();
  report(state, operands, 4, 4);
}

void attention_backward_bench(benchmark::State& state) {
  const Operands operands(state);
  operands.forward();
  for (auto _ : state) operands.backward();
  report(state, operands, 10, 9);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"B", "H", "T", "D", "dropout%"})->Unit(benchmark::kMillisecond)->UseRealTime();
  bench->Args({12, 4, 64, 32, 0})->Args({8, 6, 256, 64, 0})->Args({4, 12, 64, 64, 0});
  bench->Args({1, 12, 1024, 64, 0})->Args({1, 6, 1024, 128, 0})->Args({4, 4, 255, 80, 0})->Args({8, 6, 256, 64, 10});
}

BENCHMARK(attention_forward_bench)->Name("attention_forward")->Apply(sizes);
BENCHMARK(attention_backward_bench)->Name("attention_backward")->Apply(sizes);

}  // namespace
}  // namespace accrue::kernels
