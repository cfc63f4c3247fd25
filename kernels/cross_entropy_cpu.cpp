#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cross_entropy_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// A row is worked off in parts that stay in the first-level cache between their maximum and their exponentials, so that
// the row comes from memory once; a part keeps the maximum it was shifted by until the row's maximum is known.
constexpr std::int64_t min_part = 4096;
constexpr std::int64_t max_parts = 64;

HWY_INLINE float maximum(const float* x, std::int64_t n) {
  const F32 d;
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  const std::int64_t step = lanes();
  Floats m0 = hn::Set(d, lowest), m1 = m0, m2 = m0, m3 = m0;
  std::int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    m0 = hn::Max(m0, hn::LoadU(d, x + i));
    m1 = hn::Max(m1, hn::LoadU(d, x + i + step));
    m2 = hn::Max(m2, hn::LoadU(d, x + i + 2 * step));
    m3 = hn::Max(m3, hn::LoadU(d, x + i + 3 * step));
  }
  for (; i + step <= n; i += step) m0 = hn::Max(m0, hn::LoadU(d, x + i));
  if (i < n) m1 = hn::Max(m1, PartOfVector{n - i}.load(x + i, lowest));
  return max_of_lanes(hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)));
}

// The sum of e^(x - shift); with `store` the terms replace x.
template <bool store>
HWY_INLINE double sum_of_exponentials(float* x, std::int64_t n, float shift) {
  const F32 d;
  const Floats by = hn::Set(d, shift);
  const std::int64_t step = lanes();
  Floats s0 = hn::Zero(d), s1 = s0;
  std::int64_t i = 0;
  for (; i + 2 * step <= n; i += 2 * step) {
    const Floats e0 = exp(hn::Sub(hn::LoadU(d, x + i), by));
    const Floats e1 = exp(hn::Sub(hn::LoadU(d, x + i + step), by));
    if constexpr (store) {
      hn::StoreU(e0, d, x + i);
      hn::StoreU(e1, d, x + i + step);
    }
    s0 = hn::Add(s0, e0);
    s1 = hn::Add(s1, e1);
  }
  for (; i < n; i += step) {
    const PartOfVector part{std::min(step, n - i)};
    const Floats e = exp(hn::Sub(part.load(x + i, -std::numeric_limits<float>::infinity()), by));
    if constexpr (store) part.store(e, x + i);
    s0 = hn::Add(s0, e);
  }
  return sum_of_lanes(hn::Add(s0, s1));
}

HWY_INLINE void multiply(float* x, std::int64_t n, float factor) {
  const Floats f = hn::Set(F32(), factor);
  over_vectors(n, [&](std::int64_t i, auto access) HWY_ATTR { access.store(hn::Mul(access.load(x + i), f), x + i); });
}

// The loss of one row; with `store` the row is replaced by gradient_scale * (softmax - onehot(target)).
template <bool store>
double row_loss(float* x, std::int64_t n, std::int32_t target, double gradient_scale) {
  const std::int64_t part = std::max(min_part, (n + max_parts - 1) / max_parts);
  const double target_logit = static_cast<double>(x[target]);
  float shifts[max_parts];
  float max = -std::numeric_limits<float>::infinity();
  double sum = 0;  // of e^(x - max) so far
  std::int64_t parts = 0;
  for (std::int64_t begin = 0; begin < n; begin += part, ++parts) {
    const std::int64_t length = std::min(part, n - begin);
    const float seen = max;
    max = std::max(max, maximum(x + begin, length));
    // Nothing but -inf so far: any finite shift gives the zeros that such logits stand for, -inf would give NaN.
    shifts[parts] = std::isinf(max) && max < 0 ? 0.0f : max;
    if (max > seen && sum != 0) sum *= std::exp(static_cast<double>(seen) - max);
    sum += sum_of_exponentials<store>(x + begin, length, shifts[parts]);
  }
  if constexpr (store) {
    for (std::int64_t p = 0; p < parts; ++p)
      multiply(x + p * part, std::min(part, n - p * part),
               static_cast<float>(std::exp(static_cast<double>(shifts[p]) - max) * gradient_scale / sum));
    x[target] -= static_cast<float>(gradient_scale);
  }
  // The difference of the two large terms first: adding log(sum) to a maximum of 1e4 would round it.
  return (static_cast<double>(max) - target_logit) + std::log(sum);
}

double row_loss_only(float* x, std::int64_t n, std::int32_t target, double gradient_scale) {
  return row_loss<false>(x, n, target, gradient_scale);
}
double row_loss_and_gradient(float* x, std::int64_t n, std::int32_t target, double gradient_scale) {
  return row_loss<true>(x, n, target, gradient_scale);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {
HWY_EXPORT(row_loss_only);
HWY_EXPORT(row_loss_and_gradient);

namespace {

// Counts the targets that are not ignored. Throws before anything is written if one is not a class.
std::int64_t count_targets(const Tensor& targets, const CrossEntropy& op, std::int64_t first_row) {
  const std::int32_t* target = targets.data<std::int32_t>();
  const std::int64_t classes = op.logits.shape().last();
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < targets.numel(); ++row) {
    if (target[row] == op.ignore_index) continue;
    if (target[row] < 0 || target[row] >= classes) [[unlikely]]
      fail_bad_target(
          {.row = first_row + row, .target = target[row], .classes = classes, .ignore_index = op.ignore_index});
    ++count;
  }
  return count;
}

// What the gradient is multiplied by.
double gradient_scale_of(const CrossEntropy& op, std::int64_t count) {
  const double scale = op.loss_scale.defined() ? static_cast<double>(*op.loss_scale.data<float>()) : 1.0;
  if (op.reduction == LossReduction::sum) return scale;
  const std::int64_t divisor = op.mean_over.defined() ? count_targets(op.mean_over, op, 0) : count;
  return divisor > 0 ? scale / static_cast<double>(divisor) : scale;
}

}  // namespace

void cross_entropy(const CrossEntropy& op) {
  require_f32("cross_entropy", {{"logits", op.logits}});
  const std::int64_t rows = op.logits.shape().rows(), classes = op.logits.shape().last();
  float* logits = op.logits.data<float>();
  const std::int32_t* targets = op.targets.data<std::int32_t>();
  const bool with_gradient = op.gradient == LossGradient::in_place;

  const std::int64_t count = count_targets(op.targets, op, op.first_row);
  const double gradient_scale = gradient_scale_of(op, count);
  LossTerms terms;
  if (op.terms_write == Write::accumulate) std::memcpy(&terms, op.terms.raw(), sizeof terms);
  terms.count += count;

  const Tensor losses_buffer = Tensor::empty({rows * static_cast<std::int64_t>(sizeof(double))}, DType::u8,
                                             op.logits.device(), Category::workspace);
  auto* losses = reinterpret_cast<double*>(losses_buffer.raw());
  const auto run_row =
      with_gradient ? &HWY_DYNAMIC_DISPATCH(row_loss_and_gradient) : &HWY_DYNAMIC_DISPATCH(row_loss_only);
  constexpr std::int64_t worthwhile_elements = 8192;  // below this a thread costs more than it brings
  const std::int64_t grain = std::max<std::int64_t>(1, worthwhile_elements / std::max<std::int64_t>(1, classes));
  parallel_for(rows, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      float* x = logits + row * classes;
      if (targets[row] != op.ignore_index) {
        losses[row] = run_row(x, classes, targets[row], gradient_scale);
      } else {
        losses[row] = 0;
        if (with_gradient) std::fill_n(x, classes, 0.0f);
      }
    }
  });
  for (std::int64_t row = 0; row < rows; ++row) terms.sum += losses[row];
  std::memcpy(op.terms.raw(), &terms, sizeof terms);
}

}  // namespace accrue::kernels::cpu
#endif
