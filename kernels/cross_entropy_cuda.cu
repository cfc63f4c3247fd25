#include "kernels/cross_entropy.h"

#include <algorithm>

#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/reduce.cuh"

namespace accrue::kernels::cuda {
namespace {

void throw_bad_target(const accrue::cuda::Fault& fault) {
  fail_bad_target(
      {.row = fault.place, .target = fault.value, .classes = fault.limit, .ignore_index = fault.context.number});
}

struct Targets {
  const std::int32_t* target;
  std::int64_t rows, classes;
  std::int32_t ignored;

  __device__ bool is_class(std::int32_t t) const { return t >= 0 && t < classes; }
  __device__ bool counts(std::int64_t row) const { return target[row] != ignored && is_class(target[row]); }
};

constexpr unsigned total_threads = 512;  // of the one block that adds up what belongs to the rows

// Every thread's rows are fixed, and the block's sum has a fixed order.
template <class T, class OfRow>
__device__ T sum_over_rows(std::int64_t rows, T* scratch, OfRow of_row) {
  T sum = 0;
#pragma unroll 4
  for (std::int64_t row = threadIdx.x; row < rows; row += total_threads) sum += of_row(row);
  return block_sum(sum, scratch);
}

__device__ std::int64_t count_targets(const Targets& targets, std::int64_t* scratch) {
  return sum_over_rows(targets.rows, scratch,
                       [&](std::int64_t row) { return static_cast<std::int64_t>(targets.counts(row)); });
}

__global__ void __launch_bounds__(total_threads) count_kernel(Targets targets, std::int64_t* count) {
  __shared__ std::int64_t scratch[warp_size];
  const std::int64_t total = count_targets(targets, scratch);
  if (threadIdx.x == 0) *count = total;
}

__global__ void __launch_bounds__(total_threads)
    terms_kernel(Targets targets, const double* losses, LossTerms* terms, Write write) {
  __shared__ std::int64_t count_scratch[warp_size];
  __shared__ double sum_scratch[warp_size];
  const std::int64_t count = count_targets(targets, count_scratch);
  const double sum = sum_over_rows(targets.rows, sum_scratch, [&](std::int64_t row) { return losses[row]; });
  if (threadIdx.x != 0) return;
  const bool accumulate = write == Write::accumulate;
  terms->sum = accumulate ? terms->sum + sum : sum;
  terms->count = accumulate ? terms->count + count : count;
}

template <class T>
struct LossRows {
  T* logits;
  Targets targets;
  double* losses;
  const float* loss_scale;           // or nullptr for 1
  const std::int64_t* mean_divisor;  // or nullptr for the gradient of the sum
  std::int64_t first_row;

  __device__ float gradient_scale() const {
    const float scale = loss_scale == nullptr ? 1.0f : *loss_scale;
    return mean_divisor == nullptr || *mean_divisor == 0 ? scale : scale / static_cast<float>(*mean_divisor);
  }
};

// f.template apply<width>(i) for the block's share of a row's elements: 16-byte packs where the row, which may begin
// anywhere, has them, and single elements at both ends. A block has at least a warp's threads, more than there are
// single elements.
template <class T, class F>
__device__ void over_row(const T* row, std::int64_t n, F& f) {
  constexpr int width = pack_width<T>();
  const auto past_a_pack = static_cast<int>(reinterpret_cast<std::uintptr_t>(row) / sizeof(T) % width);
  const std::int64_t to_a_pack = (width - past_a_pack) % width, head = to_a_pack < n ? to_a_pack : n;
  const std::int64_t packs = (n - head) / width, tail = head + packs * width;
#pragma unroll 2
  for (std::int64_t pack = threadIdx.x; pack < packs; pack += blockDim.x) f.template apply<width>(head + pack * width);
  const std::int64_t single = threadIdx.x;
  if (single < head) f.template apply<1>(single);
  if (single >= head && single < head + n - tail) f.template apply<1>(tail + single - head);
}

// The largest logit and the sum of e^(logit - largest) in one pass (Milakov and Gimelshein, arXiv:1805.02867). A NaN
// does not become the maximum, but it becomes the sum.
template <class T>
struct OnlineSoftmax {
  const T* row;
  float max = -INFINITY;
  float sum = 0;

  template <int width>
  __device__ void apply(std::int64_t i) {
    const Floats<width> x = load<width>(row + i);
    float largest = max;
#pragma unroll
    for (int k = 0; k < width; ++k) largest = fmaxf(largest, x.v[k]);
    if (largest > max) {
      sum *= expf(max - largest);
      max = largest;
    }
    // Nothing but -inf so far: any finite shift gives the zeros that such logits stand for, -inf would give NaN.
    const float shift = max == -INFINITY ? 0.0f : max;
#pragma unroll
    for (int k = 0; k < width; ++k) sum += expf(x.v[k] - shift);
  }
};

// Replaces logits by scale * (softmax - onehot(target)).
template <class T>
struct SoftmaxGradient {
  T* row;
  std::int64_t target;
  float max, factor, scale;  // factor: scale / sum

  template <int width>
  __device__ void apply(std::int64_t i) const {
    Floats<width> x = load<width>(row + i);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      x.v[k] = expf(x.v[k] - max) * factor;
      if (i + k == target) x.v[k] -= scale;
    }
    store(row + i, x);
  }
};

template <class T>
struct FillZero {
  T* row;
  template <int width>
  __device__ void apply(std::int64_t i) const {
    store(row + i, Floats<width>{});
  }
};

constexpr unsigned most_row_threads = 512;

// A block a row.
template <bool with_gradient, class T>
__global__ void __launch_bounds__(most_row_threads)
    loss_rows_kernel(LossRows<T> work, FaultSink sink, std::uintptr_t thrower) {
  __shared__ float max_scratch[warp_size], sum_scratch[warp_size];
  const std::int64_t index = blockIdx.x, classes = work.targets.classes;
  const std::int32_t target = work.targets.target[index];
  T* row = work.logits + index * classes;
  if (!work.targets.counts(index)) {
    if (threadIdx.x == 0) work.losses[index] = 0;
    if (target != work.targets.ignored) {
      if (threadIdx.x == 0) report_fault(sink, thrower, work.first_row + index, target, classes);
    } else if constexpr (with_gradient) {
      FillZero<T> fill{row};
      over_row(row, classes, fill);
    }
    return;
  }
  const float target_logit = to_float(row[target]);  // before the reductions, after which the row may be replaced
  OnlineSoftmax<T> softmax{row};
  over_row(row, classes, softmax);
  const float max = block_reduce(softmax.max, -INFINITY, Maximum{}, max_scratch);
  // Also where both are infinite, whose difference would be NaN.
  const float share = softmax.max == max ? softmax.sum : softmax.sum * expf(softmax.max - max);
  const float sum = block_sum(share, sum_scratch);
  // The difference of the two large terms first: adding log(sum) to a maximum of 1e4 would round it.
  if (threadIdx.x == 0)
    work.losses[index] = (static_cast<double>(max) - static_cast<double>(target_logit)) + log(static_cast<double>(sum));
  if constexpr (with_gradient) {
    const float scale = work.gradient_scale();
    SoftmaxGradient<T> gradient{.row = row, .target = target, .max = max, .factor = scale / sum, .scale = scale};
    over_row(row, classes, gradient);
  }
}

// As many threads as a short row has packs, in whole warps.
template <class T>
unsigned row_threads(std::int64_t classes) {
  const std::int64_t packs = classes / pack_width<T>() + 1, warps = (packs + warp_size - 1) / warp_size;
  return static_cast<unsigned>(std::min<std::int64_t>(warps * warp_size, most_row_threads));
}

template <class T>
void loss_rows(const CrossEntropy& op, const LossRows<T>& work) {
  FaultSink sink = fault_sink_of(op.logits);
  sink.context.number = op.ignore_index;
  launch({.name = "cross_entropy",
          .on = op.logits,
          .grid = static_cast<unsigned>(work.targets.rows),
          .block = row_threads<T>(work.targets.classes)},
         op.gradient == LossGradient::in_place ? loss_rows_kernel<true, T> : loss_rows_kernel<false, T>, work, sink,
         reinterpret_cast<std::uintptr_t>(&throw_bad_target));
}

// Numbers of eight bytes each.
Tensor workspace(const CrossEntropy& op, std::int64_t count) {
  return Tensor::empty({8 * count}, DType::u8, op.logits.device(), Category::workspace);
}

}  // namespace

void cross_entropy(const CrossEntropy& op) {
  const std::int64_t rows = op.logits.shape().rows(), classes = op.logits.shape().last();
  const auto targets_of = [&](const Tensor& tensor) {
    return Targets{
        .target = tensor.data<std::int32_t>(), .rows = tensor.numel(), .classes = classes, .ignored = op.ignore_index};
  };
  const Targets targets = targets_of(op.targets);
  const Launch one_block{.name = "cross_entropy", .on = op.logits, .grid = 1, .block = total_threads};
  Tensor divisor;
  if (op.reduction == LossReduction::mean && op.gradient == LossGradient::in_place) {
    divisor = workspace(op, 1);
    launch(one_block, count_kernel, op.mean_over.defined() ? targets_of(op.mean_over) : targets,
           elements<std::int64_t>(divisor));
  }
  const Tensor losses = workspace(op, rows);
  dispatch_device_float(op.logits.dtype(), "cross_entropy", [&](auto tag) {
    using T = decltype(tag);
    loss_rows(op, LossRows<T>{.logits = elements<T>(op.logits),
                              .targets = targets,
                              .losses = elements<double>(losses),
                              .loss_scale = op.loss_scale.defined() ? op.loss_scale.data<float>() : nullptr,
                              .mean_divisor = divisor.defined() ? elements<std::int64_t>(divisor) : nullptr,
                              .first_row = op.first_row});
  });
  launch(one_block, terms_kernel, targets, elements<double>(losses), elements<LossTerms>(op.terms), op.terms_write);
}

}  // namespace accrue::kernels::cuda
