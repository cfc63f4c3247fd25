// The same matrix products as matmul_bench.cpp, given whole to oneDNN: as dnnl_sgemm, and as a prepared matmul
// primitive; that of bf16 operands, too, where oneDNN has one for the machine (docs/decisions/0005-cpu-bf16.md).
#ifdef ACCRUE_GEMM_ONEDNN

#include <dnnl.hpp>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench/bench.h"

namespace accrue::bench {
namespace {

using dnnl::memory;

// out [m, n] (+)= op(a) · op(b).
struct Product {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;
};

struct Operands {
  explicit Operands(const Product& p) : a(values(p.m * p.k)), b(values(p.k * p.n)), out(values(p.m * p.n)) {}

  std::vector<float> a, b, out;

  static std::vector<float> values(std::int64_t count) {
    std::vector<float> result(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = 0.01f * static_cast<float>(i % 201) - 1.0f;
    return result;
  }
};

double element_bytes(memory::data_type type) { return type == memory::data_type::bf16 ? 2 : 4; }

Work work_of(const Product& p, memory::data_type operands, memory::data_type out, std::function<void()> call) {
  const auto inputs = static_cast<double>(p.m * p.k + p.k * p.n), outputs = static_cast<double>(p.m * p.n);
  return {std::move(call), inputs * element_bytes(operands) + (p.accumulate ? 2 : 1) * outputs * element_bytes(out),
          2.0 * static_cast<double>(p.m * p.n * p.k), Bound::products};
}

Work sgemm_work(const Product& p) {
  const auto operands = std::make_shared<Operands>(p);
  return work_of(p, memory::data_type::f32, memory::data_type::f32, [p, operands] {
    dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, 1, operands->a.data(),
               p.transpose_a ? p.m : p.k, operands->b.data(), p.transpose_b ? p.k : p.n, p.accumulate ? 1.0f : 0.0f,
               operands->out.data(), p.n);
  });
}

// What a primitive reads and writes; the sums are f32.
struct Types {
  std::string name;
  memory::data_type operands, out;
};

const Types all_f32 = {"onednn_primitive", memory::data_type::f32, memory::data_type::f32};
const Types from_bf16 = {"onednn_primitive_bf16", memory::data_type::bf16, memory::data_type::f32};
const Types all_bf16 = {"onednn_primitive_bf16_out", memory::data_type::bf16, memory::data_type::bf16};

// The CPU's engine, and a product for it.
struct Primitive {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  memory::desc a, b, out;
  dnnl::primitive_attr attributes;

  Primitive(const Product& p, const Types& types)
      : a(matrix(p.m, p.k, types.operands, p.transpose_a)),
        b(matrix(p.k, p.n, types.operands, p.transpose_b)),
        out(matrix(p.m, p.n, types.out, false)) {
    dnnl::post_ops add_old;
    if (p.accumulate) add_old.append_sum(1.0f);
    attributes.set_post_ops(add_old);
  }
  dnnl::matmul make() const { return dnnl::matmul({{a, b, out}, attributes, engine}); }

  static memory::desc matrix(std::int64_t rows, std::int64_t cols, memory::data_type type, bool transposed) {
    return {{rows, cols}, type, transposed ? memory::dims{1, rows} : memory::dims{cols, 1}};
  }
};

// oneDNN 2.6 multiplies bf16 with AVX-512 alone.
bool has_primitive(const Types& types) {
  try {
    Primitive({.m = 8, .n = 8, .k = 8}, types).make();
    return true;
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return false;
  }
}

memory converted(std::vector<float>& values, const memory::desc& from, const memory::desc& to,
                 const dnnl::engine& engine, dnnl::stream& stream) {
  memory source(from, engine, values.data()), result(to, engine);
  dnnl::reorder(source, result).execute(stream, source, result);
  stream.wait();
  return result;
}

Work primitive_work(const Product& p, const Types& types) {
  Operands operands(p);
  const Primitive primitive(p, types), given(p, all_f32);
  const dnnl::matmul matmul = primitive.make();
  dnnl::stream stream(primitive.engine);
  const std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, converted(operands.a, given.a, primitive.a, primitive.engine, stream)},
      {DNNL_ARG_WEIGHTS, converted(operands.b, given.b, primitive.b, primitive.engine, stream)},
      {DNNL_ARG_DST, converted(operands.out, given.out, primitive.out, primitive.engine, stream)}};
  return work_of(p, types.operands, types.out, [matmul, stream, arguments]() mutable {
    matmul.execute(stream, arguments);
    stream.wait();
  });
}

// Warm alone: they are compared with one another.
void register_layer(const Model& model, const Layer& l, const std::vector<Types>& supported) {
  const auto add = [&](const std::string& kind, const Product& product) {
    const std::string name = "/" + kind + "/" + l.name;
    const Variant f32{.device = Device::cpu()},
        bf16{.device = Device::cpu(), .precision = kernels::MatmulPrecision::bf16};
    add_benchmark("onednn_sgemm" + name, f32, model.name, [product] { return sgemm_work(product); }, {Cache::warm});
    for (const Types& types : supported) {
      // A weight's gradient stays f32 (contract 9).
      if (kind == "weight_gradient" && types.out != memory::data_type::f32) continue;
      add_benchmark(types.name + name, types.operands == memory::data_type::f32 ? f32 : bf16, model.name,
                    [product, types] { return primitive_work(product, types); }, {Cache::warm});
    }
  };
  add("forward", {.m = l.rows, .n = l.out, .k = l.in, .transpose_b = true});
  add("input_gradient", {.m = l.rows, .n = l.in, .k = l.out});
  add("weight_gradient", {.m = l.out, .n = l.in, .k = l.rows, .transpose_a = true, .accumulate = true});
}

const Registration registration([] {
  if (devices().front().kind != DeviceKind::cpu) return;
  std::vector<Types> supported = {all_f32, from_bf16, all_bf16};
  std::erase_if(supported, [](const Types& types) { return !has_primitive(types); });
  for (const Model& model : models(Device::cpu()))
    for (const Layer& layer : layers(model)) register_layer(model, layer, supported);
});

}  // namespace
}  // namespace accrue::bench

#endif
