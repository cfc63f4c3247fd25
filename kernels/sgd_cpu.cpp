#include "kernels/sgd.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/step_state.h"
#include "kernels/gradient_dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sgd_cpu.cpp"
#include "kernels/cpu/simd.h"

#ifndef ACCRUE_KERNELS_SGD_CPU_ONCE
#define ACCRUE_KERNELS_SGD_CPU_ONCE
namespace accrue::kernels::cpu {

struct SgdStep {
  float factor;  // gradient scale
  float weight_decay, momentum, learning_rate;
  bool nesterov;
};

}  // namespace accrue::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// Where the elements of one part lie; T is the dtype of the compute copy, G the gradient's. buffer and compute may be
// null.
template <class T, class G>
struct SgdPart {
  float *master, *buffer;
  T* compute;
  const G* gradient;
  std::int64_t count;
};

template <class T, class G>
void update(const SgdPart<T, G>& part, const SgdStep& s) {
  const F32 d;
  const Floats factor = hn::Set(d, s.factor), weight_decay = hn::Set(d, s.weight_decay),
               momentum = hn::Set(d, s.momentum), learning_rate = hn::Set(d, s.learning_rate);
  over_vectors(part.count, [&](std::int64_t i, auto access) HWY_ATTR {
    const Floats old = access.load(part.master + i);
    const Floats g = hn::MulAdd(weight_decay, old, hn::Mul(access.load(part.gradient + i), factor));
    Floats step = g;
    if (part.buffer != nullptr) {
      const Floats buffer = hn::MulAdd(momentum, access.load(part.buffer + i), g);
      access.store(buffer, part.buffer + i);
      step = s.nesterov ? hn::MulAdd(momentum, buffer, g) : buffer;
    }
    const Floats master = hn::NegMulAdd(learning_rate, step, old);
    access.store(master, part.master + i);
    if (part.compute != nullptr) access.store(master, part.compute + i);
  });
}

template <class T>
T* elements_from(std::int64_t begin, const Tensor& tensor) {
  return tensor.defined() ? tensor.data<T>() + begin : nullptr;
}

// Elements [begin, end).
void update_range(const Sgd& op, const SgdStep& s, std::int64_t begin, std::int64_t end) {
  const DType compute_dtype = op.compute.defined() ? op.compute.dtype() : DType::f32;
  dispatch_gradient(op.gradient.dtype(), [&](auto gradient) HWY_ATTR {
    using G = decltype(gradient);
    dispatch_float(compute_dtype, "sgd", [&](auto compute) HWY_ATTR {
      using T = decltype(compute);
      update(SgdPart<T, G>{.master = op.master.data<float>() + begin,
                           .buffer = elements_from<float>(begin, op.buffer),
                           .compute = elements_from<T>(begin, op.compute),
                           .gradient = op.gradient.data<G>() + begin,
                           .count = end - begin},
             s);
    });
  });
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(update_range);

constexpr std::int64_t grain = 4096;  // elements

}  // namespace

void sgd(const Sgd& op) {
  const StepState& state = state_of(op.state);
  if (state.apply == 0) return;
  const SgdStep step{.factor = state.factor,
                     .weight_decay = static_cast<float>(op.weight_decay),
                     .momentum = static_cast<float>(op.momentum),
                     .learning_rate = state.learning_rate,
                     .nesterov = op.nesterov};
  parallel_for(op.master.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(update_range)(op, step, begin, end);
  });
}

}  // namespace accrue::kernels::cpu
#endif
