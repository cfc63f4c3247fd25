// The layers around a GELU with what else is computed from their operands and results: as operations of their own, and
// in one pass with the product where the GPU's library has that.
#include "bench/bench.h"
#include "kernels/linear.h"
#include "kernels/matmul_epilogues.h"

namespace accrue::bench {
namespace {

using namespace kernels;

void run_with(MatmulEpilogues epilogues, const auto& call) {
  set_matmul_epilogues(epilogues);
  call();
  set_matmul_epilogues(MatmulEpilogues::bias);
}

// Both ways are said to move the bytes that one pass would have to. Throws where there is no way to fuse: the figure
// would be that of the other way.
template <class Op>
Work work_of(void (*run)(const Op&), const Op& op, MatmulEpilogues epilogues, double bytes, double flop) {
  const std::int64_t before = fused_product_count();
  run_with(epilogues, [&] { run(op); });
  check(epilogues == MatmulEpilogues::bias || fused_product_count() > before, "the library has no algorithm for this");
  return {[=] { run_with(epilogues, [&] { run(op); }); }, bytes, flop, Bound::products};
}

void add_each_way(const std::string& name, MatmulEpilogues epilogues) {
  const std::string way = epilogues == MatmulEpilogues::all ? "/fused" : "/apart";
  const auto add = [&](const std::string& operation, auto make) {
    for (const Device device : devices()) {
      if (device.kind == DeviceKind::cpu && epilogues == MatmulEpilogues::all) continue;
      for (const Variant& variant : variants(device)) {
        // No library promises to fuse f32, or rows that do not begin where a vector may.
        if (epilogues == MatmulEpilogues::all && variant.dtype == DType::f32) continue;
        for (const Model& model : epilogues == MatmulEpilogues::all ? gpts(device) : models(device))
          add_benchmark(name + operation + way, variant, model.name, [=] { return make(model, variant); });
      }
    }
  };
  add("_gelu", [epilogues](const Model& m, const Variant& v) {
    const LinearGelu op{.y = Tensor::empty(m.activations(4), v.dtype, v.device),
                        .z = Tensor::empty(m.activations(4), v.dtype, v.device),
                        .x = filled(m.activations(), v),
                        .weight = filled({m.width, 4 * m.width}, v),
                        .bias = filled({4 * m.width}, v)};
    const auto bytes = static_cast<double>(op.y.bytes() + op.z.bytes() + op.x.bytes() + op.weight.bytes());
    return work_of(&linear_gelu, op, epilogues, bytes, 8 * m.elements() * static_cast<double>(m.width));
  });
  add("_gelu_backward", [epilogues](const Model& m, const Variant& v) {
    const LinearGeluBackward op{.dz = Tensor::empty(m.activations(4), v.dtype, v.device),
                                .dy = filled(m.activations(), v),
                                .weight = filled({4 * m.width, m.width}, v),
                                .z = filled(m.activations(4), v)};
    const auto bytes = static_cast<double>(op.dz.bytes() + op.dy.bytes() + op.weight.bytes() + op.z.bytes());
    return work_of(&linear_gelu_backward, op, epilogues, bytes, 8 * m.elements() * static_cast<double>(m.width));
  });
  add("_weight_backward", [epilogues](const Model& m, const Variant& v) {
    const Tensor dweight = Tensor::zeros({m.width, 4 * m.width}, DType::f32, v.device),
                 dbias = Tensor::zeros({4 * m.width}, DType::f32, v.device);
    const LinearWeightBackward op{.dweight = {dweight, Write::accumulate},
                                  .dbias = {dbias, Write::accumulate},
                                  .dy = filled(m.activations(4), v),
                                  .x = filled(m.activations(), v)};
    const auto bytes = static_cast<double>(2 * dweight.bytes() + op.dy.bytes() + op.x.bytes());
    return work_of(&linear_weight_backward, op, epilogues, bytes, 8 * m.elements() * static_cast<double>(m.width));
  });
}

const Registration registration([] {
  for (const MatmulEpilogues epilogues : {MatmulEpilogues::bias, MatmulEpilogues::all})
    add_each_way("linear", epilogues);
});

}  // namespace
}  // namespace accrue::bench
