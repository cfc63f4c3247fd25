// The matrix products of a linear layer [rows, in] -> [rows, out]: forward, gradient of the input, gradient of the
// weight (accumulating), for the layers of three GPTs. Reports FLOP/s.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "bench/matmul_layers.h"
#include "kernels/matmul.h"

namespace accrue::kernels {
namespace {

using bench::Layer;

Tensor filled(const Shape& shape) {
  const Tensor tensor = Tensor::empty(shape);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.01f * static_cast<float>(i % 201) - 1.0f;
  tensor.copy_from_host(std::span<const float>(values));
  return tensor;
}

void run(benchmark::State& state, const Layer& layer, const Matmul& product) {
  for (auto _ : state) matmul(product);
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * static_cast<double>(layer.rows * layer.out * layer.in),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void register_layer(const Layer& layer) {
  const auto add = [&](const char* kind, auto make) {
    benchmark::RegisterBenchmark((std::string("matmul/") + layer.name + "/" + kind).c_str(),
                                 [layer, make](benchmark::State& state) { run(state, layer, make(layer)); })
        ->UseRealTime();
  };
  add("forward", [](const Layer& l) {
    return Matmul{
        .out = filled({l.rows, l.out}), .a = filled({l.rows, l.in}), .b = filled({l.out, l.in}), .transpose_b = true};
  });
  add("input_gradient", [](const Layer& l) {
    return Matmul{.out = filled({l.rows, l.in}), .a = filled({l.rows, l.out}), .b = filled({l.out, l.in})};
  });
  add("weight_gradient", [](const Layer& l) {
    return Matmul{.out = filled({l.out, l.in}),
                  .a = filled({l.rows, l.out}),
                  .b = filled({l.rows, l.in}),
                  .transpose_a = true,
                  .write = Write::accumulate};
  });
}

const bool registered = [] {
  for (const Layer& layer : bench::layers) register_layer(layer);
  return true;
}();

}  // namespace
}  // namespace accrue::kernels
