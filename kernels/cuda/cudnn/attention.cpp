// Compiled in one place, because cuDNN's frontend takes its time. The library is loaded when it is first asked for: a
// program starts, and computes with the native kernels, where there is none.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#define NV_CUDNN_FRONTEND_DISABLE_LOGGING
#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "kernels/attention_kernel.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/launch.cuh"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // where the frontend looks for cuDNN's functions
}

namespace accrue::kernels {
namespace {

// The reason why the library cannot be used, asked once.
const std::string& loading_error() {
  static const std::string error = [] {
    using cudnn_frontend::cudnn_dlhandle;
    // The frontend would take the first CUDA run-time that it finds, of whatever version.
    setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", fmt::format("libcudart.so.{}", CUDART_VERSION / 1000).c_str(), 0);
    cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    return cudnn_dlhandle == nullptr ? std::string("cuDNN cannot be loaded: ") + dlerror() : std::string();
  }();
  return error;
}

}  // namespace

std::string why_no_cudnn() { return loading_error(); }

namespace cuda {
namespace {

namespace fe = cudnn_frontend;
using Graph = fe::graph::Graph;
using TensorHandle = std::shared_ptr<fe::graph::Tensor_attributes>;

// The operands of a graph by number; a call binds their addresses.
enum Operand : std::int64_t { q = 1, k, v, y, logsumexp, dy, dq, dk, dv };
using Addresses = std::unordered_map<std::int64_t, void*>;

enum class Direction { forward, backward };

// What a plan depends on.
struct Problem {
  std::int64_t batch, tokens, heads, head_size;
  DType dtype;
  float scale;
  Direction direction;
  int device;

  auto key() const { return std::tuple(batch, tokens, heads, head_size, dtype, scale, direction, device); }
  std::int64_t channels() const { return heads * head_size; }
};

template <class Arguments>
Problem problem_of(const Arguments& op, Direction direction) {
  const Shape& shape = op.qkv.shape();
  return {.batch = shape[0],
          .tokens = shape[1],
          .heads = op.heads,
          .head_size = shape[2] / 3 / op.heads,
          .dtype = op.qkv.dtype(),
          .scale = op.scale,
          .direction = direction,
          .device = op.qkv.device().index};
}

// A head's rows as cuDNN sees them, [batch, heads, tokens, head size], in a tensor whose rows have `row` elements.
TensorHandle operand(Graph& graph, const Problem& p, Operand number, std::int64_t row) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_uid(number)
                          .set_dim({p.batch, p.heads, p.tokens, p.head_size})
                          .set_stride({p.tokens * row, p.head_size, row, 1}));
}

void make_result(const TensorHandle& result, const Problem& p, Operand number, std::int64_t row) {
  result->set_output(true)
      .set_uid(number)
      .set_dim({p.batch, p.heads, p.tokens, p.head_size})
      .set_stride({p.tokens * row, p.head_size, row, 1});
}

TensorHandle statistics(Graph& graph, const Problem& p) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_uid(logsumexp)
                          .set_dim({p.batch, p.heads, p.tokens, 1})
                          .set_stride({p.heads * p.tokens, p.tokens, 1, 1})
                          .set_data_type(fe::DataType_t::FLOAT));
}

void describe_forward(Graph& graph, const Problem& p) {
  const std::int64_t packed = 3 * p.channels();
  auto [output, stats] =
      graph.sdpa(operand(graph, p, q, packed), operand(graph, p, k, packed), operand(graph, p, v, packed),
                 fe::graph::SDPA_attributes().set_generate_stats(true).set_causal_mask(true).set_attn_scale(p.scale));
  make_result(output, p, y, p.channels());
  stats->set_output(true)
      .set_uid(logsumexp)
      .set_dim({p.batch, p.heads, p.tokens, 1})
      .set_stride({p.heads * p.tokens, p.tokens, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

// Deterministic, as every kernel of Accrue's is.
void describe_backward(Graph& graph, const Problem& p) {
  const std::int64_t packed = 3 * p.channels();
  auto [queries, keys, values] = graph.sdpa_backward(
      operand(graph, p, q, packed), operand(graph, p, k, packed), operand(graph, p, v, packed),
      operand(graph, p, y, p.channels()), operand(graph, p, dy, p.channels()), statistics(graph, p),
      fe::graph::SDPA_backward_attributes().set_causal_mask(true).set_attn_scale(p.scale).set_deterministic_algorithm(
          true));
  make_result(queries, p, dq, packed);
  make_result(keys, p, dk, packed);
  make_result(values, p, dv, packed);
}

// A graph that is ready to run; null where cuDNN has no plan for the problem.
std::unique_ptr<Graph> plan(const Problem& p, cudnnHandle_t handle) {
  auto graph = std::make_unique<Graph>();
  graph->set_io_data_type(p.dtype == DType::f16 ? fe::DataType_t::HALF : fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  p.direction == Direction::forward ? describe_forward(*graph, p) : describe_backward(*graph, p);
  if (graph->build(handle, {fe::HeurMode_t::A}).is_bad()) return nullptr;
  return graph;
}

class Cudnn {
 public:
  // False where there is no plan, or where cuDNN does not work here and was not asked for by name. `on` gives device
  // and stream.
  bool run(const Problem& p, const Tensor& on, Addresses addresses) {
    const std::lock_guard lock(mutex_);
    if (is_broken_ && attention_kernel() == AttentionKernel::automatic) return false;
    const cudaStream_t stream = stream_of(on);
    auto entry = plans_.find(p.key());
    if (entry == plans_.end()) {
      try {
        if (handle_ == nullptr) require(fe::detail::create_handle(&handle_), "cudnnCreate", on);
        require(fe::detail::set_stream(handle_, stream), "cudnnSetStream", on);
        entry = plans_.emplace(p.key(), plan(p, handle_)).first;
      } catch (const std::exception&) {
        // A library of another version, or one without all of its parts: what the frontend does not find, it throws.
        if (attention_kernel() != AttentionKernel::automatic) throw;
        is_broken_ = true;
        return false;
      }
    }
    if (entry->second == nullptr) return false;
    require(fe::detail::set_stream(handle_, stream), "cudnnSetStream", on);
    // Freed when this returns: whoever gets the memory next works behind on the same stream.
    const Tensor workspace = Tensor::empty({std::max<std::int64_t>(1, entry->second->get_workspace_size())}, DType::u8,
                                           on.device(), Category::workspace);
    auto status = entry->second->execute(handle_, addresses, workspace.raw());
    check(status.is_good(), "attention of {} {} with {} heads by cuDNN on {} failed: {}", name_of(on.dtype()),
          on.shape(), p.heads, on.device().to_string(), status.get_message());
    return true;
  }

 private:
  static void require(cudnnStatus_t status, const char* call, const Tensor& on) {
    check(status == CUDNN_STATUS_SUCCESS, "{} on {} failed: {}", call, on.device().to_string(),
          fe::detail::get_error_string(status));
  }

  std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;
  bool is_broken_ = false;
  std::map<decltype(std::declval<Problem>().key()), std::unique_ptr<Graph>> plans_;
};

// One for each device; never destroyed, as the driver may be gone by then.
Cudnn& cudnn_of(int device) {
  static auto* mutex = new std::mutex;
  static auto* all = new std::map<int, Cudnn>;
  const std::lock_guard lock(*mutex);
  return (*all)[device];
}

template <class Arguments>
bool takes(const Arguments& op, std::initializer_list<Tensor> operands) {
  const std::int64_t head_size = op.qkv.shape()[2] / 3 / op.heads;
  const bool aligned = std::all_of(operands.begin(), operands.end(), [](const Tensor& operand) {
    return reinterpret_cast<std::uintptr_t>(operand.raw()) % 16 == 0;
  });
  return attention_kernel() != AttentionKernel::native && op.qkv.dtype() != DType::f32 && head_size % 8 == 0 &&
         head_size <= 128 && op.dropout_p == 0 && op.scale > 0 && aligned && loading_error().empty();
}

// Query, key and value lie side by side in a row.
void bind_packed(Addresses& addresses, const Tensor& packed, const Problem& p, Operand first) {
  for (std::int64_t part = 0; part < 3; ++part)
    addresses[first + part] = packed.raw() + static_cast<std::size_t>(part * p.channels()) * size_of(p.dtype);
}

}  // namespace

bool cudnn_attention_forward(const AttentionForward& op) {
  if (!takes(op, {op.qkv, op.y})) return false;
  const Problem p = problem_of(op, Direction::forward);
  Addresses addresses = {{y, op.y.raw()}, {logsumexp, op.logsumexp.raw()}};
  bind_packed(addresses, op.qkv, p, q);
  return cudnn_of(p.device).run(p, op.qkv, std::move(addresses));
}

bool cudnn_attention_backward(const AttentionBackward& op) {
  if (!takes(op, {op.qkv, op.y, op.dy, op.dqkv})) return false;
  const Problem p = problem_of(op, Direction::backward);
  Addresses addresses = {{y, op.y.raw()}, {logsumexp, op.logsumexp.raw()}, {dy, op.dy.raw()}};
  bind_packed(addresses, op.qkv, p, q);
  bind_packed(addresses, op.dqkv, p, dq);
  return cudnn_of(p.device).run(p, op.qkv, std::move(addresses));
}

}  // namespace cuda
}  // namespace accrue::kernels
