#include "kernels/cuda/lt_matmul.cuh"

#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/cuda/device.cuh"
#include "kernels/matmul_precision.h"

namespace accrue::kernels::cuda {
namespace {

// What cuBLASLt may use beside the operands; NVIDIA advises 32 MiB on Hopper.
constexpr std::size_t largest_workspace = std::size_t{32} << 20;
// More than blocks of the allocator have; kernels of cuBLASLt for Hopper fail with less.
constexpr std::size_t workspace_alignment = 256;

std::string describe(const LtMatmul& op) {
  return fmt::format("matmul of {} [{}, {}, {}]{} and {}{} into {} on {}", name_of(op.a.dtype()), op.batch, op.m, op.k,
                     op.transpose_a ? " transposed" : "", fmt::format("[{}, {}, {}]", op.batch, op.k, op.n),
                     op.transpose_b ? " transposed" : "", name_of(op.out.dtype()), op.out.device().to_string());
}

void check_blas(cublasStatus_t status, const char* call, const LtMatmul& op) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  const auto kind = status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::memory : ErrorKind::internal;
  fail(kind, "{} for a {} failed: {}", call, describe(op), cublasLtGetStatusString(status));
}

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::f16 ? CUDA_R_16F : dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The largest power of two that divides the address, up to the 16 of the widest access: with more, the algorithm and so
// the bits of a result would depend on where the allocator happened to put a tensor.
std::uint32_t alignment_of(const Tensor& tensor) {
  constexpr std::uintptr_t widest = 16;
  if (!tensor.defined()) return widest;
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.raw());
  return static_cast<std::uint32_t>(address == 0 ? widest : std::min(widest, address & -address));
}

struct Destroy {
  void operator()(cublasLtMatmulDesc_t p) const { cublasLtMatmulDescDestroy(p); }
  void operator()(cublasLtMatrixLayout_t p) const { cublasLtMatrixLayoutDestroy(p); }
  void operator()(cublasLtMatmulPreference_t p) const { cublasLtMatmulPreferenceDestroy(p); }
};
template <class T>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, Destroy>;

// cuBLASLt sees columns where we see rows, so everything is transposed: its product is out^T = op(b)^T · op(a)^T, and
// its first operand is our b.
struct Plan {
  Owned<cublasLtMatmulDesc_t> operation;
  Owned<cublasLtMatrixLayout_t> first, second, out;
  bool has_algorithm = false;
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace_bytes = 0;
};

cublasLtEpilogue_t epilogue_of(const LtMatmul& op) {
  if (op.gelu == LtGelu::backward) return CUBLASLT_EPILOGUE_DGELU;
  if (op.gelu == LtGelu::forward)
    return op.bias.defined() ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  if (op.sums != LtSums::none)
    return op.sums == LtSums::columns_of_b ? CUBLASLT_EPILOGUE_BGRADA : CUBLASLT_EPILOGUE_BGRADB;
  return op.bias.defined() ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

// To cuBLASLt, a bias and its gradient are one and the same vector.
const Tensor& vector_of(const LtMatmul& op) { return op.sums == LtSums::none ? op.bias : op.sums_out; }

// cuBLASLt has these for some dtypes, shapes and GPUs only, and does not say which.
bool may_lack_algorithm(const LtMatmul& op) { return op.gelu != LtGelu::none || op.sums != LtSums::none; }

// Fixed by cuBLASLt's header for GELU's input; products of depth 1 are known to fail.
constexpr std::int64_t gelu_input_multiple = 8, least_depth = 2;

using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, bool, bool, cublasLtEpilogue_t,
                       DType, DType, MatmulPrecision, std::array<std::uint32_t, 5>, int>;

Key key_of(const LtMatmul& op) {
  return {op.m,
          op.n,
          op.k,
          op.batch,
          op.transpose_a,
          op.transpose_b,
          op.accumulate,
          epilogue_of(op),
          op.a.dtype(),
          op.out.dtype(),
          matmul_precision(),
          {alignment_of(op.a), alignment_of(op.b), alignment_of(op.out), alignment_of(vector_of(op)),
           alignment_of(op.gelu_input)},
          op.out.device().index};
}

template <class Value>
void set_attribute(const LtMatmul& op, cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                   const Value& value) {
  check_blas(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value),
             "cublasLtMatmulDescSetAttribute", op);
}

// Those that the descriptor holds, of what the epilogue reads or writes: address(tensor).
template <class Address>
void set_pointers(const LtMatmul& op, cublasLtMatmulDesc_t operation, Address&& address) {
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const Tensor& tensor) {
    if (tensor.defined()) set_attribute(op, operation, attribute, static_cast<const void*>(address(tensor)));
  };
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector_of(op));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, op.gelu_input);
}

class Planner {
 public:
  explicit Planner(const LtMatmul& op) : op_(op) {}

  Plan plan(cublasLtHandle_t handle) const {
    Plan plan;
    plan.operation = operation();
    // Stored row-major [rows, cols] is column-major [cols, rows].
    plan.first = layout(op_.b, op_.transpose_b ? op_.k : op_.n, op_.transpose_b ? op_.n : op_.k);
    plan.second = layout(op_.a, op_.transpose_a ? op_.m : op_.k, op_.transpose_a ? op_.k : op_.m);
    plan.out = layout(op_.out, op_.n, op_.m);
    choose_algorithm(handle, plan);
    return plan;
  }

 private:
  Owned<cublasLtMatmulDesc_t> operation() const {
    const bool tf32 = op_.a.dtype() == DType::f32 && matmul_precision() == MatmulPrecision::tf32;
    cublasLtMatmulDesc_t created = nullptr;
    check_blas(cublasLtMatmulDescCreate(&created, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "cublasLtMatmulDescCreate", op_);
    Owned<cublasLtMatmulDesc_t> operation(created);
    set(created, CUBLASLT_MATMUL_DESC_TRANSA, op_.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(created, CUBLASLT_MATMUL_DESC_TRANSB, op_.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(created, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(op_));
    if (vector_of(op_).defined()) set(created, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(vector_of(op_).dtype()));
    if (op_.gelu_input.defined()) set(created, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, op_.n);
    // Every call gives its own. The choice of the algorithm reads nothing but their alignment from them.
    set_pointers(op_, created,
                 [](const Tensor& tensor) { return reinterpret_cast<void*>(std::uintptr_t{alignment_of(tensor)}); });
    return operation;
  }

  template <class Value>
  void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) const {
    set_attribute(op_, operation, attribute, value);
  }

  Owned<cublasLtMatrixLayout_t> layout(const Tensor& tensor, std::int64_t rows, std::int64_t cols) const {
    cublasLtMatrixLayout_t created = nullptr;
    check_blas(cublasLtMatrixLayoutCreate(&created, data_type(tensor.dtype()), static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(cols), rows),
               "cublasLtMatrixLayoutCreate", op_);
    Owned<cublasLtMatrixLayout_t> layout(created);
    const auto count = static_cast<std::int32_t>(op_.batch);
    const std::int64_t stride = rows * cols;
    check_blas(cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
               "cublasLtMatrixLayoutSetAttribute", op_);
    check_blas(
        cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
        "cublasLtMatrixLayoutSetAttribute", op_);
    return layout;
  }

  void choose_algorithm(cublasLtHandle_t handle, Plan& plan) const {
    cublasLtMatmulPreference_t created = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate", op_);
    const Owned<cublasLtMatmulPreference_t> preference(created);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check_blas(cublasLtMatmulPreferenceSetAttribute(created, attribute, &value, sizeof value),
                 "cublasLtMatmulPreferenceSetAttribute", op_);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, largest_workspace);
    // Split sums are put together in f32, not in the dtype of a half result.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(op_.b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(op_.a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(op_.out));
    // There is none of what the epilogue reads or writes, as wide as it writes the result.
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
           std::min({alignment_of(op_.out), alignment_of(vector_of(op_)), alignment_of(op_.gelu_input)}));
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, plan.operation.get(), plan.first.get(), plan.second.get(),
                                       plan.out.get(), plan.out.get(), created, 1, &found, &count);
    if (may_lack_algorithm(op_) && (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE))
      return;
    check_blas(status, "cublasLtMatmulAlgoGetHeuristic", op_);
    plan.has_algorithm = count == 1 && found.state == CUBLAS_STATUS_SUCCESS;
    plan.algorithm = found.algo;
    plan.workspace_bytes = found.workspaceSize;
  }

  const LtMatmul& op_;
};

// One for each device; a handle belongs to the device that was current when it was made.
class Blas {
 public:
  // False where there is no algorithm for the problem.
  bool run(const LtMatmul& op, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    if (handle_ == nullptr) check_blas(cublasLtCreate(&handle_), "cublasLtCreate", op);
    auto [entry, fresh] = plans_.try_emplace(key_of(op));
    if (fresh) {
      try {
        entry->second = Planner(op).plan(handle_);
      } catch (...) {
        plans_.erase(entry);
        throw;
      }
    }
    if (!entry->second.has_algorithm) return false;
    entry->second.has_algorithm = call(op, entry->second, stream);
    return entry->second.has_algorithm;
  }

 private:
  bool call(const LtMatmul& op, const Plan& plan, cudaStream_t stream) const {
    set_pointers(op, plan.operation.get(), [](const Tensor& tensor) { return tensor.raw(); });
    // Freed when this returns: whoever gets the memory next works behind the product on the same stream.
    Tensor workspace;
    void* aligned = nullptr;
    if (plan.workspace_bytes > 0) {
      workspace = Tensor::empty({static_cast<std::int64_t>(plan.workspace_bytes + workspace_alignment)}, DType::u8,
                                op.out.device(), Category::workspace);
      std::size_t space = plan.workspace_bytes + workspace_alignment;
      aligned = workspace.raw();
      std::align(workspace_alignment, plan.workspace_bytes, aligned, space);
    }
    const float alpha = 1, beta = op.accumulate ? 1 : 0;
    const cublasStatus_t status =
        cublasLtMatmul(handle_, plan.operation.get(), &alpha, op.b.raw(), plan.first.get(), op.a.raw(),
                       plan.second.get(), &beta, op.out.raw(), plan.out.get(), op.out.raw(), plan.out.get(),
                       &plan.algorithm, aligned, plan.workspace_bytes, stream);
    if (may_lack_algorithm(op) && status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
    check_blas(status, "cublasLtMatmul", op);
    return true;
  }

  std::mutex mutex_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Plan> plans_;
};

Blas& blas_of(int device) {
  static auto* mutex = new std::mutex;
  static auto* all = new std::map<int, Blas>;  // never destroyed: the driver may be gone by then
  const std::lock_guard lock(*mutex);
  return (*all)[device];
}

}  // namespace

void lt_matmul(const LtMatmul& op) {
  if (!try_lt_matmul(op))
    fail(ErrorKind::internal, "cublasLtMatmulAlgoGetHeuristic for a {} found no algorithm", describe(op));
}

bool try_lt_matmul(const LtMatmul& op) {
  check(op.gelu == LtGelu::none || op.sums == LtSums::none, "lt_matmul: GELU and sums are for different products");
  if (may_lack_algorithm(op) && op.k < least_depth) return false;
  if (op.gelu != LtGelu::none && op.n % gelu_input_multiple != 0) return false;
  const accrue::cuda::CudaDevice& device = accrue::cuda::device(op.out.device().index);
  device.activate();
  return blas_of(op.out.device().index).run(op, device.stream());
}

}  // namespace accrue::kernels::cuda
