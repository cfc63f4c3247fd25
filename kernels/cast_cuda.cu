#include "kernels/cast.h"
#include "kernels/cuda/elementwise.cuh"

namespace accrue::kernels::cuda {
namespace {

// Through f32, which holds every f16 and bf16 exactly: only the store rounds.
template <class Out, class In>
struct CastWork {
  Out* out;
  const In* x;

  template <int width>
  __device__ void apply(std::int64_t i) const {
    store(out + i, load<width>(x + i));
  }
};

template <class Out, class In>
void convert(const Cast& op) {
  // 16 bytes of the wider type: neighbouring threads then touch neighbouring bytes of both.
  constexpr int width = std::min(pack_width<Out>(), pack_width<In>());
  const CastWork<Out, In> work{elements<Out>(op.out), elements<In>(op.x)};
  over_packs<width>("cast", op.out, op.out.numel(), aligned_for_packs(work.out, work.x), work);
}

}  // namespace

void cast(const Cast& op) {
  if (op.out.dtype() == op.x.dtype()) {
    // A copy and not a conversion, so that a signalling NaN keeps its bits too.
    if (op.out.raw() != op.x.raw()) op.out.copy_from(op.x);
    return;
  }
  dispatch_device_float(op.out.dtype(), "cast", [&](auto out) {
    dispatch_device_float(op.x.dtype(), "cast", [&](auto in) {
      if constexpr (!std::is_same_v<decltype(out), decltype(in)>) convert<decltype(out), decltype(in)>(op);
    });
  });
}

}  // namespace accrue::kernels::cuda
