// The same matrix products as matmul_bench.cpp, given whole to oneDNN: as dnnl_sgemm, and as a prepared matmul
// primitive.
#ifdef ACCRUE_GEMM_ONEDNN

#include <benchmark/benchmark.h>

#include <dnnl.hpp>
#include <string>
#include <vector>

#include "bench/bench.h"

namespace accrue::bench {
namespace {

// out [m, n] (+)= op(a) · op(b).
struct Product {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;

  std::vector<float> a = values(m * k), b = values(k * n), out = values(m * n);

  static std::vector<float> values(std::int64_t count) {
    std::vector<float> result(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = 0.01f * static_cast<float>(i % 201) - 1.0f;
    return result;
  }
};

void report(benchmark::State& state, const Product& p) {
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * static_cast<double>(p.m * p.n * p.k), benchmark::Counter::kIsIterationInvariantRate);
}

void run_sgemm(benchmark::State& state, Product p) {
  for (auto _ : state)
    dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, 1, p.a.data(),
               p.transpose_a ? p.m : p.k, p.b.data(), p.transpose_b ? p.k : p.n, p.accumulate ? 1.0f : 0.0f,
               p.out.data(), p.n);
  report(state, p);
}

void run_primitive(benchmark::State& state, Product p) {
  using dnnl::memory;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto matrix = [](std::int64_t rows, std::int64_t cols, bool transposed) {
    return memory::desc({rows, cols}, memory::data_type::f32,
                        transposed ? memory::dims{1, rows} : memory::dims{cols, 1});
  };
  const memory::desc a = matrix(p.m, p.k, p.transpose_a), b = matrix(p.k, p.n, p.transpose_b),
                     out = matrix(p.m, p.n, false);
  dnnl::primitive_attr attributes;
  dnnl::post_ops add_old;
  if (p.accumulate) add_old.append_sum(1.0f);
  attributes.set_post_ops(add_old);
  const dnnl::matmul primitive({{a, b, out}, attributes, engine});
  const std::unordered_map<int, memory> arguments = {{DNNL_ARG_SRC, memory(a, engine, p.a.data())},
                                                     {DNNL_ARG_WEIGHTS, memory(b, engine, p.b.data())},
                                                     {DNNL_ARG_DST, memory(out, engine, p.out.data())}};
  for (auto _ : state) {
    primitive.execute(stream, arguments);
    stream.wait();
  }
  report(state, p);
}

void register_layer(const Model& model, const Layer& l) {
  const auto add = [&](const char* kind, auto make) {
    const std::string name = std::string(kind) + "/" + l.name + "/" + model.name;
    benchmark::RegisterBenchmark(("onednn_sgemm/" + name).c_str(), [make](benchmark::State& state) {
      run_sgemm(state, make());
    })->UseRealTime();
    benchmark::RegisterBenchmark(("onednn_primitive/" + name).c_str(), [make](benchmark::State& state) {
      run_primitive(state, make());
    })->UseRealTime();
  };
  add("forward", [l] { return Product{.m = l.rows, .n = l.out, .k = l.in, .transpose_b = true}; });
  add("input_gradient", [l] { return Product{.m = l.rows, .n = l.in, .k = l.out}; });
  add("weight_gradient",
      [l] { return Product{.m = l.out, .n = l.in, .k = l.rows, .transpose_a = true, .accumulate = true}; });
}

const Registration registration([] {
  for (const Model& model : models(Device::cpu()))
    for (const Layer& layer : layers(model)) register_layer(model, layer);
});

}  // namespace
}  // namespace accrue::bench

#endif
