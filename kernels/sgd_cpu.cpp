#include "kernels/sgd.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/step_state.h"

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

// Where the elements of one part lie; T is the dtype of the compute copy. buffer and compute may be null.
template <class T>
struct SgdPart {
  float *master, *buffer;
  T* compute;
  const float* gradient;
  std::int64_t count;
};

}  // namespace accrue::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

template <class T>
void update(const SgdPart<T>& part, const SgdStep& s) {
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

void update_f32(const SgdPart<float>& part, const SgdStep& s) { update(part, s); }
void update_f16(const SgdPart<f16>& part, const SgdStep& s) { update(part, s); }
void update_bf16(const SgdPart<bf16>& part, const SgdStep& s) { update(part, s); }

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
namespace {

HWY_EXPORT(update_f32);
HWY_EXPORT(update_f16);
HWY_EXPORT(update_bf16);

constexpr std::int64_t grain = 4096;  // elements

template <class T>
T* at(T* start, std::int64_t offset) {
  return start == nullptr ? nullptr : start + offset;
}

}  // namespace

void sgd(const Sgd& op) {
  const StepState& state = state_of(op.state);
  if (state.apply == 0) return;
  const SgdStep step{.factor = state.factor,
                     .weight_decay = static_cast<float>(op.weight_decay),
                     .momentum = static_cast<float>(op.momentum),
                     .learning_rate = state.learning_rate,
                     .nesterov = op.nesterov};
  float* buffer = op.buffer.defined() ? op.buffer.data<float>() : nullptr;
  const auto over_parts = [&](auto* compute, auto kernel) {
    using T = std::remove_pointer_t<decltype(compute)>;
    parallel_for(op.master.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
      kernel(SgdPart<T>{.master = op.master.data<float>() + begin,
                        .buffer = at(buffer, begin),
                        .compute = at(compute, begin),
                        .gradient = op.gradient.data<float>() + begin,
                        .count = end - begin},
             step);
    });
  };
  if (!op.compute.defined()) return over_parts(static_cast<float*>(nullptr), HWY_DYNAMIC_DISPATCH(update_f32));
  switch (op.compute.dtype()) {
    case DType::f16:
      return over_parts(op.compute.data<f16>(), HWY_DYNAMIC_DISPATCH(update_f16));
    case DType::bf16:
      return over_parts(op.compute.data<bf16>(), HWY_DYNAMIC_DISPATCH(update_bf16));
    default:
      return over_parts(op.compute.data<float>(), HWY_DYNAMIC_DISPATCH(update_f32));
  }
}

}  // namespace accrue::kernels::cpu
#endif
