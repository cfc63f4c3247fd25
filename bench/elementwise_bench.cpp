// The memory-bound operations at the sizes of three GPTs. Bytes/s and FLOP/s as the headers in kernels/ count them;
// optimizer_bench.cpp's stream_scale and peak_bench.cpp are what they are a fraction of.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/add.h"
#include "kernels/bias.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/grad_accumulate.h"
#include "kernels/layernorm.h"
#include "kernels/scale.h"

namespace accrue::kernels {
namespace {

// A micro-batch [batch, tokens] of a model of `width`.
struct Model {
  const char* name;
  std::int64_t batch, tokens, width, vocabulary;

  Shape activations() const { return {batch, tokens, width}; }
  std::int64_t rows() const { return batch * tokens; }
  double elements() const { return static_cast<double>(rows() * width); }
};

constexpr Model models[] = {
    {"gpt_4_4_128", 12, 64, 128, 65}, {"gpt_6_6_384", 8, 256, 384, 65}, {"gpt2_124m", 4, 64, 768, 50257}};

Tensor filled(const Shape& shape, DType dtype = DType::f32) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.01f * static_cast<float>(i % 201) - 1.0f;
  const Tensor tensor = Tensor::from<float>(values, shape);
  if (dtype == DType::f32) return tensor;
  const Tensor converted = Tensor::empty(shape, dtype);
  cast({.out = converted, .x = tensor});
  return converted;
}

// What one call does and costs.
struct Work {
  std::function<void()> call;
  double bytes, flop = 0;
};

void run(benchmark::State& state, const Work& work) {
  work.call();  // maps the result's pages
  for (auto _ : state) work.call();
  state.SetBytesProcessed(static_cast<std::int64_t>(static_cast<double>(state.iterations()) * work.bytes));
  if (work.flop > 0)
    state.counters["FLOP/s"] = benchmark::Counter(work.flop, benchmark::Counter::kIsIterationInvariantRate);
}

// `make` allocates the operands when the benchmark runs.
template <class Make>
void add_benchmark(const std::string& name, const Model& model, Make make) {
  benchmark::RegisterBenchmark((name + "/" + model.name).c_str(),
                               [model, make](benchmark::State& state) { run(state, make(model)); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

void register_activation(const Model& model) {
  // The hidden layer of an MLP block is four times as wide.
  const auto hidden = [](const Model& m) { return Shape{m.batch, m.tokens, 4 * m.width}; };
  add_benchmark("gelu/forward", model, [hidden](const Model& m) {
    const Tensor x = filled(hidden(m)), y = empty_like(x);
    const double n = 4 * m.elements();
    return Work{[=] { activation_forward({.y = y, .x = x, .kind = Activation::gelu}); }, 8 * n, 12 * n};
  });
  add_benchmark("gelu/backward", model, [hidden](const Model& m) {
    const Tensor x = filled(hidden(m)), dy = filled(hidden(m)), dx = empty_like(x);
    const double n = 4 * m.elements();
    return Work{[=] {
                  activation_backward({.dx = {dx, Write::overwrite}, .dy = dy, .x = x, .kind = Activation::gelu});
                },
                12 * n, 20 * n};
  });
}

void register_layernorm(const Model& model) {
  struct Operands {
    explicit Operands(const Model& m)
        : x(filled(m.activations())),
          dy(filled(m.activations())),
          y(empty_like(x)),
          dx(empty_like(x)),
          gamma(filled({m.width})),
          beta(filled({m.width})),
          dgamma(empty_like(gamma)),
          dbeta(empty_like(beta)),
          mean(Tensor::empty({m.rows()})),
          rstd(Tensor::empty({m.rows()})) {}
    void forward() const {
      layernorm_forward({.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = gamma, .beta = beta});
    }
    void backward() const {
      layernorm_backward({.dx = {dx, Write::overwrite},
                          .dgamma = {dgamma, Write::overwrite},
                          .dbeta = {dbeta, Write::overwrite},
                          .dy = dy,
                          .x = x,
                          .gamma = gamma,
                          .mean = mean,
                          .rstd = rstd});
    }
    Tensor x, dy, y, dx, gamma, beta, dgamma, dbeta, mean, rstd;
  };
  add_benchmark("layernorm/forward", model, [](const Model& m) {
    const Operands operands(m);
    const double n = m.elements(), rows = static_cast<double>(m.rows()), cols = static_cast<double>(m.width);
    return Work{[=] { operands.forward(); }, 8 * n + 8 * cols + 8 * rows, 8 * n};
  });
  add_benchmark("layernorm/backward", model, [](const Model& m) {
    const Operands operands(m);
    operands.forward();
    const double n = m.elements(), rows = static_cast<double>(m.rows()), cols = static_cast<double>(m.width);
    return Work{[=] { operands.backward(); }, 12 * n + 8 * rows + 12 * cols, 14 * n};
  });
}

void register_embedding(const Model& model) {
  const auto ids = [](const Model& m) {
    std::mt19937 generator(1);
    std::vector<std::int32_t> values(static_cast<std::size_t>(m.rows()));
    for (std::int32_t& id : values) id = static_cast<std::int32_t>(generator() % static_cast<unsigned>(m.vocabulary));
    return Tensor::from<std::int32_t>(values, {m.batch, m.tokens});
  };
  add_benchmark("embedding/forward", model, [ids](const Model& m) {
    const Tensor id = ids(m), table = filled({m.vocabulary, m.width}), positions = filled({m.tokens, m.width});
    const Tensor y = Tensor::empty(m.activations());
    return Work{[=] { embedding_forward({.y = y, .ids = id, .table = table, .positions = positions}); },
                8 * m.elements() + 4 * static_cast<double>(m.rows())};
  });
  // Accumulating, as in all micro-batches but the first: of the rows that are read and written, at most n are named in
  // the table and all `tokens` among the positions.
  add_benchmark("embedding/backward", model, [ids](const Model& m) {
    const Tensor id = ids(m), dy = filled(m.activations());
    const Tensor dtable = Tensor::zeros({m.vocabulary, m.width}), dpositions = Tensor::zeros({m.tokens, m.width});
    std::vector<std::int32_t> named = id.to_vector<std::int32_t>();
    std::sort(named.begin(), named.end());
    const std::int64_t touched = std::unique(named.begin(), named.end()) - named.begin() + m.tokens;
    return Work{[=] {
                  embedding_backward({.dtable = {dtable, Write::accumulate},
                                      .dpositions = {dpositions, Write::accumulate},
                                      .dy = dy,
                                      .ids = id});
                },
                4 * m.elements() + 8 * static_cast<double>(touched * m.width), 2 * m.elements()};
  });
}

void register_dropout(const Model& model) {
  add_benchmark("dropout", model, [](const Model& m) {
    const Tensor x = filled(m.activations()), out = empty_like(x);
    return Work{[=] { dropout({.out = {out, Write::overwrite}, .x = x, .p = 0.1f}); }, 8 * m.elements()};
  });
}

void register_bias(const Model& model) {
  // As wide as qkv, where it is widest but for the MLP's hidden layer.
  const auto wide = [](const Model& m) { return Shape{m.batch, m.tokens, 3 * m.width}; };
  add_benchmark("bias/forward", model, [wide](const Model& m) {
    const Tensor x = filled(wide(m)), y = empty_like(x), bias = filled({3 * m.width});
    const double n = 3 * m.elements();
    return Work{[=] { bias_forward({.y = y, .x = x, .bias = bias}); }, 8 * n + 12 * static_cast<double>(m.width), n};
  });
  add_benchmark("bias/backward", model, [wide](const Model& m) {
    const Tensor dy = filled(wide(m)), dbias = Tensor::zeros({3 * m.width});
    const double n = 3 * m.elements();
    return Work{[=] {
                  bias_backward({.dbias = {dbias, Write::overwrite}, .dy = dy});
                },
                4 * n + 12 * static_cast<double>(m.width), n};
  });
}

void register_streams(const Model& model) {
  add_benchmark("add", model, [](const Model& m) {
    const Tensor a = filled(m.activations()), b = filled(m.activations()), out = empty_like(a);
    return Work{[=] { add({.out = out, .a = a, .b = b}); }, 12 * m.elements(), m.elements()};
  });
  add_benchmark("scale", model, [](const Model& m) {
    const Tensor x = filled(m.activations()), out = empty_like(x);
    return Work{[=] { scale({.out = out, .x = x, .factor_host = 2}); }, 8 * m.elements(), m.elements()};
  });
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::string half(name_of(dtype));
    add_benchmark("cast/f32_to_" + half, model, [dtype](const Model& m) {
      const Tensor x = filled(m.activations()), out = Tensor::empty(m.activations(), dtype);
      return Work{[=] { cast({.out = out, .x = x}); }, 6 * m.elements()};
    });
    add_benchmark("cast/" + half + "_to_f32", model, [dtype](const Model& m) {
      const Tensor x = filled(m.activations(), dtype), out = Tensor::empty(m.activations());
      return Work{[=] { cast({.out = out, .x = x}); }, 6 * m.elements()};
    });
  }
}

// The gradient of a weight of the MLP block [width, 4 * width].
void register_grad_accumulate(const Model& model) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    add_benchmark("grad_accumulate/" + std::string(name_of(dtype)), model, [dtype](const Model& m) {
      const Shape weight{m.width, 4 * m.width};
      const Tensor acc = Tensor::zeros(weight), incoming = filled(weight, dtype);
      const double n = static_cast<double>(weight.numel());
      return Work{[=] {
                    grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming});
                  },
                  n * static_cast<double>(8 + size_of(dtype)), 2 * n};
    });
}

const bool registered = [] {
  for (const auto& add_all : {register_activation, register_layernorm, register_embedding, register_dropout,
                              register_bias, register_streams, register_grad_accumulate})
    for (const Model& model : models) add_all(model);
  return true;
}();

}  // namespace
}  // namespace accrue::kernels
