#include "kernels/attention.h"

#include <limits>

#include "kernels/cuda/attention_delta.cuh"
#include "kernels/cuda/attention_fma.cuh"
#include "kernels/cuda/attention_mma_backward.cuh"
#include "kernels/cuda/attention_mma_forward.cuh"
#include "kernels/cuda/cudnn_attention.h"

namespace accrue::kernels::cuda {
namespace {

template <class T, class Arguments>
AttentionTask<T> task_of(const Arguments& op) {
  const std::int64_t channels = op.y.shape().last();
  return {.qkv = elements<T>(op.qkv),
          .y = elements<T>(op.y),
          .logsumexp = elements<float>(op.logsumexp),
          .tokens = static_cast<int>(op.qkv.shape()[1]),
          .heads = op.heads,
          .head_size = static_cast<int>(channels / op.heads),
          .access = RowAccess::elements,
          .scale = op.scale,
          .dropout = {.p = op.dropout_p, .key = op.key, .site = op.site}};
}

// Rows begin at multiples of a pack if the head's first feature does in every operand.
template <class T, class... Pointers>
RowAccess row_access(const AttentionTask<T>& task, const Pointers*... operands) {
  return task.head_size % 8 == 0 && aligned_for_packs(operands...) ? RowAccess::packs : RowAccess::elements;
}

// A block for each tile of each head, `feature_chunks` times.
unsigned attention_blocks(std::string_view name, const Tensor& qkv, int heads, std::int64_t feature_chunks) {
  const Shape& shape = qkv.shape();
  const std::int64_t tiles = (shape[1] + attention_tile - 1) / attention_tile;
  const double blocks =
      static_cast<double>(tiles) * static_cast<double>(shape[0]) * heads * static_cast<double>(feature_chunks);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  check(blocks <= static_cast<double>(most) && shape[1] <= most - attention_tile,
        "{}: a CUDA device takes at most 2^31 - 1 tokens and tiles of 64 tokens, but heads is {} and qkv is {}", name,
        heads, shape);
  return static_cast<unsigned>(tiles * shape[0] * heads * feature_chunks);
}

// ---- tensor cores ----

template <class T, int features>
void forward_mma(const AttentionForward& op, const AttentionTask<T>& task) {
  launch({.name = "attention_forward",
          .on = op.qkv,
          .grid = attention_blocks("attention_forward", op.qkv, op.heads, 1),
          .block = mma_threads,
          .shared_bytes = mma_forward_elements<features> * sizeof(T)},
         attention_forward_mma<T, features>, task);
}

template <class T, int features>
void backward_mma(const AttentionBackward& op, const AttentionTask<T>& task) {
  const Launch start = {.name = "attention_backward",
                        .on = op.qkv,
                        .grid = attention_blocks("attention_backward", op.qkv, op.heads, 1),
                        .block = mma_threads,
                        .shared_bytes = MmaBackwardTiles<features>::bytes};
  launch(start, attention_dkeys_dvalues_mma<T, features>, task);
  launch(start, attention_dqueries_mma<T, features>, task);
}

constexpr int widest_mma_head = 128;

// Whether heads of this size, in T, are multiplied on tensor cores.
template <class T>
bool takes_mma(const Tensor& qkv, int head_size) {
  if constexpr (sizeof(T) == 2)
    return head_size <= widest_mma_head && has_mma<T>(qkv, attention_forward_mma<T, 64>);
  else
    return false;
}

// function(features) with the smallest width that tiles are compiled for and that holds the head.
template <class Function>
void dispatch_mma_features(int head_size, Function&& function) {
  if (head_size <= 32)
    function(std::integral_constant<int, 32>{});
  else if (head_size <= 64)
    function(std::integral_constant<int, 64>{});
  else if (head_size <= 96)
    function(std::integral_constant<int, 96>{});
  else
    function(std::integral_constant<int, widest_mma_head>{});
}

// ---- fused multiply-adds ----

template <class T, int chunk>
void forward_fma(const AttentionForward& op, const AttentionTask<T>& task) {
  const int chunks = (task.head_size + chunk - 1) / chunk;
  launch({.name = "attention_forward",
          .on = op.qkv,
          .grid = attention_blocks("attention_forward", op.qkv, op.heads, chunks),
          .block = fma_threads},
         attention_forward_fma<T, chunk>, task, chunks);
}

template <class T, int chunk>
void backward_fma(const AttentionBackward& op, const AttentionTask<T>& task) {
  const int chunks = (task.head_size + chunk - 1) / chunk;
  const Launch start = {.name = "attention_backward",
                        .on = op.qkv,
                        .grid = attention_blocks("attention_backward", op.qkv, op.heads, chunks),
                        .block = fma_threads};
  launch(start, attention_dkeys_dvalues_fma<T, chunk>, task, chunks);
  launch(start, attention_dqueries_fma<T, chunk>, task, chunks);
}

// function(chunk) with the features that a block makes. In a half dtype this way is for what tensor cores cannot take,
// and one chunk serves all.
template <class T, class Function>
void dispatch_fma_chunk([[maybe_unused]] int head_size, Function&& function) {
  if constexpr (sizeof(T) == 2)
    function(std::integral_constant<int, 64>{});
  else if (head_size <= 32)
    function(std::integral_constant<int, 32>{});
  else if (head_size <= 64)
    function(std::integral_constant<int, 64>{});
  else
    function(std::integral_constant<int, 128>{});
}

template <class T>
void launch_delta(const AttentionBackward& op, const AttentionTask<T>& task) {
  const std::int64_t queries = op.logsumexp.numel();
  launch({.name = "attention_backward",
          .on = op.y,
          .grid = static_cast<unsigned>((queries + delta_queries - 1) / delta_queries),
          .block = delta_threads},
         attention_delta<T>, task, queries);
}

}  // namespace

void attention_forward(const AttentionForward& op) {
  if (op.qkv.numel() == 0 || cudnn_attention_forward(op)) return;
  dispatch_device_float(op.qkv.dtype(), "attention_forward", [&](auto tag) {
    using T = decltype(tag);
    AttentionTask<T> task = task_of<T>(op);
    task.access = row_access(task, task.qkv, task.y);
    if (takes_mma<T>(op.qkv, task.head_size)) {
      if constexpr (sizeof(T) == 2)
        dispatch_mma_features(task.head_size, [&](auto features) { forward_mma<T, features>(op, task); });
    } else {
      dispatch_fma_chunk<T>(task.head_size, [&](auto chunk) { forward_fma<T, chunk>(op, task); });
    }
  });
}

void attention_backward(const AttentionBackward& op) {
  if (op.qkv.numel() == 0 || cudnn_attention_backward(op)) return;
  const Tensor delta = Tensor::empty(op.logsumexp.shape(), DType::f32, op.qkv.device(), Category::workspace);
  dispatch_device_float(op.qkv.dtype(), "attention_backward", [&](auto tag) {
    using T = decltype(tag);
    AttentionTask<T> task = task_of<T>(op);
    task.dy = elements<T>(op.dy);
    task.dqkv = elements<T>(op.dqkv);
    task.delta = elements<float>(delta);
    task.access = row_access(task, task.qkv, task.y, task.dy, task.dqkv);
    launch_delta(op, task);
    if (takes_mma<T>(op.qkv, task.head_size)) {
      if constexpr (sizeof(T) == 2)
        dispatch_mma_features(task.head_size, [&](auto features) { backward_mma<T, features>(op, task); });
    } else {
      dispatch_fma_chunk<T>(task.head_size, [&](auto chunk) { backward_fma<T, chunk>(op, task); });
    }
  });
}

}  // namespace accrue::kernels::cuda
