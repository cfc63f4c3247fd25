// The matrix products of a linear layer: forward, gradient of the input, gradient of the weight (accumulating into
// f32).
#include "bench/bench.h"
#include "kernels/matmul.h"

namespace accrue::bench {
namespace {

using kernels::Matmul;

double bytes_of(const Matmul& product) {
  const double passes = product.write == Write::accumulate ? 2 : 1;
  return static_cast<double>(product.a.bytes() + product.b.bytes()) + passes * static_cast<double>(product.out.bytes());
}

template <class Make>
void add_product(const std::string& kind, const Model& model, const Layer& layer, const Variant& variant, Make make) {
  add_benchmark("matmul/" + kind + "/" + layer.name, variant, model.name, [=] {
    const Matmul product = make(layer, variant);
    return Work{[=] { matmul(product); }, bytes_of(product), layer.flop(), Bound::products};
  });
}

void add_layer(const Model& model, const Layer& layer, const Variant& variant) {
  add_product("forward", model, layer, variant, [](const Layer& l, const Variant& v) {
    return Matmul{.out = Tensor::empty({l.rows, l.out}, v.dtype, v.device),
                  .a = filled({l.rows, l.in}, v),
                  .b = filled({l.out, l.in}, v),
                  .transpose_b = true};
  });
  add_product("input_gradient", model, layer, variant, [](const Layer& l, const Variant& v) {
    return Matmul{.out = Tensor::empty({l.rows, l.in}, v.dtype, v.device),
                  .a = filled({l.rows, l.out}, v),
                  .b = filled({l.out, l.in}, v)};
  });
  add_product("weight_gradient", model, layer, variant, [](const Layer& l, const Variant& v) {
    return Matmul{.out = Tensor::zeros({l.out, l.in}, DType::f32, v.device),
                  .a = filled({l.rows, l.out}, v),
                  .b = filled({l.rows, l.in}, v),
                  .transpose_a = true,
                  .write = Write::accumulate};
  });
}

const Registration registration([] {
  for (const Device device : devices()) {
    std::vector<Variant> all = variants(device);
    if (device.kind == DeviceKind::cuda) all.push_back({.device = device, .precision = kernels::MatmulPrecision::tf32});
    if (device.kind == DeviceKind::cpu) all.push_back({.device = device, .precision = kernels::MatmulPrecision::bf16});
    for (const Variant& variant : all)
      for (const Model& model : models(device))
        for (const Layer& layer : layers(model)) add_layer(model, layer, variant);
  }
});

}  // namespace
}  // namespace accrue::bench
