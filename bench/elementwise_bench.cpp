// The operations that go over their elements once: activations, dropout, bias, sums, scales, casts.
#include "bench/bench.h"
#include "kernels/activation.h"
#include "kernels/add.h"
#include "kernels/bias.h"
#include "kernels/cast.h"
#include "kernels/dropout.h"
#include "kernels/grad_accumulate.h"
#include "kernels/scale.h"

namespace accrue::bench {
namespace {

using namespace kernels;

// Of the hidden layer of an MLP block, four times as wide as the model.
void add_activation(const std::string& name, Activation kind, double flop_forward, double flop_backward) {
  add_for_models(name + "/forward", [=](const Model& m, const Variant& v) {
    const Tensor x = filled(m.activations(4), v), y = empty_like(x);
    const double n = 4 * m.elements();
    return Work{[=] { activation_forward({.y = y, .x = x, .kind = kind}); }, 2 * n * v.element_bytes(),
                flop_forward * n};
  });
  add_for_models(name + "/backward", [=](const Model& m, const Variant& v) {
    const Tensor x = filled(m.activations(4), v), dy = filled(m.activations(4), v), dx = empty_like(x);
    const double n = 4 * m.elements();
    return Work{[=] {
                  activation_backward({.dx = {dx, Write::overwrite}, .dy = dy, .x = x, .kind = kind});
                },
                3 * n * v.element_bytes(), flop_backward * n};
  });
}

// As wide as qkv, where it is widest but for the MLP's hidden layer.
void add_bias() {
  add_for_models("bias/forward", [](const Model& m, const Variant& v) {
    const Tensor x = filled(m.activations(3), v), y = empty_like(x), bias = filled({3 * m.width}, v);
    const double n = 3 * m.elements(), cols = 3 * static_cast<double>(m.width);
    return Work{[=] { bias_forward({.y = y, .x = x, .bias = bias}); }, (2 * n + cols) * v.element_bytes(), n};
  });
  add_for_models("bias/backward", [](const Model& m, const Variant& v) {
    const Tensor dy = filled(m.activations(3), v), dbias = Tensor::zeros({3 * m.width}, DType::f32, v.device);
    const double n = 3 * m.elements(), cols = 3 * static_cast<double>(m.width);
    return Work{[=] {
                  bias_backward({.dbias = {dbias, Write::overwrite}, .dy = dy});
                },
                n * v.element_bytes() + 4 * cols, n};
  });
}

void add_streams() {
  add_for_models("add", [](const Model& m, const Variant& v) {
    const Tensor a = filled(m.activations(), v), b = filled(m.activations(), v), out = empty_like(a);
    return Work{[=] { add({.out = out, .a = a, .b = b}); }, 3 * m.elements() * v.element_bytes(), m.elements()};
  });
  add_for_models("scale", [](const Model& m, const Variant& v) {
    const Tensor x = filled(m.activations(), v), out = empty_like(x);
    return Work{[=] { scale({.out = out, .x = x, .factor_host = 2}); }, 2 * m.elements() * v.element_bytes(),
                m.elements()};
  });
  add_for_models("dropout", [](const Model& m, const Variant& v) {
    const Tensor x = filled(m.activations(), v), out = empty_like(x);
    return Work{[=] {
                  dropout({.out = {out, Write::overwrite}, .x = x, .p = 0.1f});
                },
                2 * m.elements() * v.element_bytes()};
  });
}

// Between f32 and a half, which every device converts; the benchmark's dtype is the half.
void add_conversions(const Variant& half, const Model& model) {
  const double n = model.elements();
  add_benchmark("cast/from_f32", half, model.name, [=] {
    const Tensor x = filled(model.activations(), DType::f32, half.device),
                 out = Tensor::empty(x.shape(), half.dtype, half.device);
    return Work{[=] { cast({.out = out, .x = x}); }, n * (4 + half.element_bytes())};
  });
  add_benchmark("cast/to_f32", half, model.name, [=] {
    const Tensor x = filled(model.activations(), half), out = Tensor::empty(x.shape(), DType::f32, half.device);
    return Work{[=] { cast({.out = out, .x = x}); }, n * (4 + half.element_bytes())};
  });
}

// Into the f32 gradient of a weight of the MLP block [width, 4 * width], from f32 and from halves on every device.
void add_gradient_sum(const Variant& incoming_variant, const Model& model) {
  add_benchmark("grad_accumulate", incoming_variant, model.name, [=] {
    const Shape weight{model.width, 4 * model.width};
    const Tensor acc = Tensor::zeros(weight, DType::f32, incoming_variant.device),
                 incoming = filled(weight, incoming_variant);
    const auto n = static_cast<double>(weight.numel());
    return Work{[=] {
                  grad_accumulate({.acc = {acc, Write::accumulate}, .incoming = incoming});
                },
                n * (8 + incoming_variant.element_bytes()), 2 * n};
  });
}

const Registration registration([] {
  add_activation("gelu", Activation::gelu, 12, 20);
  add_activation("relu", Activation::relu, 1, 1);
  add_bias();
  add_streams();
  for (const Device device : devices())
    for (const Model& model : models(device)) {
      for (const DType half : {DType::f16, DType::bf16}) add_conversions({.device = device, .dtype = half}, model);
      for (const DType incoming : {DType::f32, DType::f16, DType::bf16})
        add_gradient_sum({.device = device, .dtype = incoming}, model);
    }
});

}  // namespace
}  // namespace accrue::bench
