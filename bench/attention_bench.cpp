// FLOP/s and bytes/s as kernels/attention.h counts them: the causal half only.
#include <cmath>

#include "bench/bench.h"
#include "kernels/attention.h"
#include "kernels/attention_kernel.h"

namespace accrue::bench {
namespace {

using namespace kernels;

struct Size {
  std::string name;
  std::int64_t batch, heads, tokens, head_width;
  float dropout = 0;

  std::int64_t width() const { return heads * head_width; }
  // Of one product of the causal half: queries times keys, say.
  double product_flop() const {
    return 2 * static_cast<double>(batch) * static_cast<double>(tokens * tokens / 2) * static_cast<double>(width());
  }
  double elements() const { return static_cast<double>(batch * tokens * width()); }
};

Size size_of_model(const Model& m) { return {m.name, m.batch, m.heads, m.tokens, m.width / m.heads}; }

// Those of the models, and what else users have: odd lengths, wide heads, long contexts, dropout.
std::vector<Size> sizes(Device device) {
  std::vector<Size> all;
  for (const Model& model : gpts(device)) all.push_back(size_of_model(model));
  all.push_back({"odd_255x80", 4, 4, 255, 80});
  all.push_back({"dropout_256x64", 8, 6, 256, 64, 0.1f});
  if (device.kind == DeviceKind::cpu) {
    all.push_back({"long_1024x64", 1, 12, 1024, 64});
    all.push_back({"wide_1024x128", 1, 6, 1024, 128});
  } else {
    all.push_back({"long_4096x64", 2, 12, 4096, 64});
    all.push_back({"wide_2048x128", 4, 16, 2048, 128});
  }
  return all;
}

struct Operands {
  Operands(const Size& s, const Variant& v)
      : size(s),
        qkv(filled({s.batch, s.tokens, 3 * s.width()}, v)),
        dy(filled({s.batch, s.tokens, s.width()}, v)),
        dqkv(empty_like(qkv)),
        y(empty_like(dy)),
        logsumexp(Tensor::empty({s.batch, s.heads, s.tokens}, DType::f32, v.device)),
        scale(1.0f / std::sqrt(static_cast<float>(s.head_width))) {}

  void forward() const {
    attention_forward({.y = y,
                       .logsumexp = logsumexp,
                       .qkv = qkv,
                       .heads = static_cast<int>(size.heads),
                       .scale = scale,
                       .dropout_p = size.dropout});
  }
  void backward() const {
    attention_backward({.dqkv = dqkv,
                        .dy = dy,
                        .y = y,
                        .logsumexp = logsumexp,
                        .qkv = qkv,
                        .heads = static_cast<int>(size.heads),
                        .scale = scale,
                        .dropout_p = size.dropout});
  }

  Size size;
  Tensor qkv, dy, dqkv, y, logsumexp;
  float scale;
};

void add_size(const std::string& name, AttentionKernel kernel, const Size& size, const Variant& variant) {
  add_benchmark(name + "/forward", variant, size.name, [=] {
    set_attention_kernel(kernel);
    const Operands operands(size, variant);
    return Work{[=] { operands.forward(); }, 4 * size.elements() * variant.element_bytes(), 2 * size.product_flop(),
                Bound::products};
  });
  add_benchmark(name + "/backward", variant, size.name, [=] {
    set_attention_kernel(kernel);
    const Operands operands(size, variant);
    operands.forward();
    return Work{[=] { operands.backward(); }, 9 * size.elements() * variant.element_bytes(), 5 * size.product_flop(),
                Bound::products};
  });
}

// Where cuDNN's kernels can be used, they are measured beside Accrue's on what they take.
const Registration registration([] {
  for (const Device device : devices())
    for (const Variant& variant : variants(device))
      for (const Size& size : sizes(device)) {
        add_size("attention", AttentionKernel::native, size, variant);
        if (device.kind == DeviceKind::cuda && variant.dtype != DType::f32 && size.dropout == 0 &&
            why_no_cudnn().empty())
          add_size("attention_cudnn", AttentionKernel::cudnn, size, variant);
      }
});

}  // namespace
}  // namespace accrue::bench
