// The part of cuBLASLt that Accrue calls, on the emulated device: products by the CPU backend's matrix multiplication,
// in the order of the stream. Operands are widened to f32, results rounded once. What is not modelled, or not in the
// library's table of supported dtypes, is refused with CUBLAS_STATUS_NOT_SUPPORTED; wrong sizes, pointers that are less
// aligned than the choice of the algorithm was told and matrices of a batch that overlap, with
// CUBLAS_STATUS_INVALID_VALUE.
#include <cublasLt.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "core/dtype.h"
#include "kernels/cpu/gemm.h"
#include "kernels/emulator/emulator.h"

namespace {

using accrue::bf16;
using accrue::f16;

struct Operation {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cublasOperation_t transpose_first = CUBLAS_OP_N, transpose_second = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  cudaDataType_t bias_type = CUDA_R_32F;
  const void* bias = nullptr;  // or where its gradient goes
  const void* gelu_input = nullptr;
  std::int64_t gelu_input_stride = 0;
};

// What an epilogue does with a product.
struct Epilogue {
  bool is_known = true;
  bool adds_bias = false;
  bool applies_gelu = false, multiplies_by_gelu_gradient = false;
  bool sums_first = false, sums_second = false;  // the operands over the depth: gradients of a bias

  bool has_vector() const { return adds_bias || sums_first || sums_second; }
  bool has_matrix() const { return applies_gelu || multiplies_by_gelu_gradient; }
};

Epilogue epilogue_of(cublasLtEpilogue_t epilogue) {
  switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
      return {};
    case CUBLASLT_EPILOGUE_BIAS:
      return {.adds_bias = true};
    case CUBLASLT_EPILOGUE_GELU_AUX:
      return {.applies_gelu = true};
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
      return {.adds_bias = true, .applies_gelu = true};
    case CUBLASLT_EPILOGUE_DGELU:
      return {.multiplies_by_gelu_gradient = true};
    case CUBLASLT_EPILOGUE_BGRADA:
      return {.sums_first = true};
    case CUBLASLT_EPILOGUE_BGRADB:
      return {.sums_second = true};
    default:
      return {.is_known = false};
  }
}

// 0.5 (1 + tanh v) with v = sqrt(2/pi) (x + 0.044715 x^3), and the derivative of x times that.
double gelu(double x) {
  const double v = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return x * 0.5 * (1 + std::tanh(v));
}
double gelu_gradient(double x) {
  const double scale = std::sqrt(2 / std::numbers::pi), tanh_v = std::tanh(scale * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + tanh_v) + 0.5 * x * (1 - tanh_v * tanh_v) * scale * (1 + 3 * 0.044715 * x * x);
}

// Column-major [rows, cols], the columns `stride` elements apart.
struct Layout {
  cudaDataType_t type = CUDA_R_32F;
  std::uint64_t rows = 0, cols = 0;
  std::int64_t stride = 0;
  std::int32_t batch = 1;
  std::int64_t batch_stride = 0;
};

// The library's descriptors are opaque arrays; ours lie at their beginning.
template <class T, class Opaque>
T& content(Opaque* opaque) {
  static_assert(sizeof(T) <= sizeof(Opaque) && std::is_trivially_copyable_v<T>);
  return *reinterpret_cast<T*>(opaque);
}

template <class T, class Opaque>
cublasStatus_t create(Opaque** result, const T& value) {
  *result = new Opaque{};
  std::memcpy(static_cast<void*>(*result), &value, sizeof value);
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t assign(T& to, const void* from, std::size_t bytes) {
  if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

bool known(cudaDataType_t type) { return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF; }
std::size_t size_of(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

float element(const void* data, cudaDataType_t type, std::size_t i) {
  if (type == CUDA_R_16F) return static_cast<float>(static_cast<const f16*>(data)[i]);
  if (type == CUDA_R_16BF) return static_cast<float>(static_cast<const bf16*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

void set_element(void* data, cudaDataType_t type, std::size_t i, float value) {
  if (type == CUDA_R_16F) {
    static_cast<f16*>(data)[i] = f16(value);
  } else if (type == CUDA_R_16BF) {
    static_cast<bf16*>(data)[i] = bf16(value);
  } else {
    static_cast<float*>(data)[i] = value;
  }
}

// TF32 keeps 10 bits of fraction; rounded to nearest, as the conversion instruction does.
float rounded_to_tf32(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x0fffu + ((bits >> 13) & 1u)) & 0xffffe000u);
}

std::vector<float> widened(const void* data, const Layout& layout, bool tf32) {
  std::vector<float> values(layout.rows * layout.cols);
  for (std::size_t column = 0; column < layout.cols; ++column)
    for (std::size_t row = 0; row < layout.rows; ++row) {
      const float value = element(data, layout.type, column * static_cast<std::size_t>(layout.stride) + row);
      values[column * layout.rows + row] = tf32 ? rounded_to_tf32(value) : value;
    }
  return values;
}

// Not needed, but asked for: callers must cope with algorithms that want some.
constexpr std::size_t needed_workspace = 256;

// The smallest alignments, in bytes, of the operands that an algorithm is chosen for.
struct Alignments {
  std::uint32_t first = 256, second = 256, added = 256, out = 256;
};

bool is_multiple(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

struct Problem {
  Operation operation;
  Layout first, second, out;

  std::size_t depth() const { return operation.transpose_first == CUBLAS_OP_N ? first.cols : first.rows; }

  cublasStatus_t status() const {
    if (!has_known_dtypes() || !has_known_epilogue()) return CUBLAS_STATUS_NOT_SUPPORTED;
    return fits() ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
  }

  bool has_known_dtypes() const {
    const bool tf32 = operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    return first.type == second.type && (out.type == first.type || out.type == CUDA_R_32F) &&
           (!tf32 || first.type == CUDA_R_32F);
  }

  bool has_known_epilogue() const {
    const Epilogue epilogue = epilogue_of(operation.epilogue);
    const bool only_for_one = epilogue.has_matrix() || epilogue.sums_first || epilogue.sums_second;
    return epilogue.is_known && (!epilogue.has_vector() || operation.bias_type == out.type) &&
           (!only_for_one || (out.batch == 1 && depth() > 1)) &&
           (!epilogue.sums_first || operation.transpose_first == CUBLAS_OP_N) &&
           (!epilogue.sums_second || operation.transpose_second != CUBLAS_OP_N);
  }

  bool fits() const {
    const std::size_t rows = operation.transpose_first == CUBLAS_OP_N ? first.rows : first.cols;
    const std::size_t cols = operation.transpose_second == CUBLAS_OP_N ? second.cols : second.rows;
    const std::size_t depth_of_second = operation.transpose_second == CUBLAS_OP_N ? second.rows : second.cols;
    return rows == out.rows && cols == out.cols && depth() == depth_of_second && first.batch == out.batch &&
           second.batch == out.batch && first.stride >= static_cast<std::int64_t>(first.rows) &&
           second.stride >= static_cast<std::int64_t>(second.rows) &&
           out.stride >= static_cast<std::int64_t>(out.rows) && !results_overlap() && gelu_input_fits();
  }

  bool gelu_input_fits() const {
    return !epilogue_of(operation.epilogue).has_matrix() ||
           (operation.gelu_input_stride >= static_cast<std::int64_t>(out.rows) && operation.gelu_input_stride % 8 == 0);
  }

  bool results_overlap() const {
    return out.batch > 1 && out.batch_stride < out.stride * static_cast<std::int64_t>(out.cols);
  }
};

struct Product {
  Problem problem;
  const void *first_data, *second_data;
  void* out_data;
  bool accumulate;

  bool is_aligned_for(const Alignments& alignments) const {
    const Operation& operation = problem.operation;
    const Epilogue epilogue = epilogue_of(operation.epilogue);
    const auto fits = [](const void* pointer, cudaDataType_t type) {
      return pointer != nullptr && is_multiple(pointer, size_of(type));
    };
    return is_multiple(first_data, alignments.first) && is_multiple(second_data, alignments.second) &&
           is_multiple(out_data, alignments.added) && is_multiple(out_data, alignments.out) &&
           (!epilogue.has_vector() || fits(operation.bias, operation.bias_type)) &&
           (!epilogue.has_matrix() || fits(operation.gelu_input, problem.out.type));
  }

  static const void* matrix(const void* data, const Layout& layout, std::int32_t index) {
    return static_cast<const std::byte*>(data) +
           static_cast<std::size_t>(index * layout.batch_stride) * size_of(layout.type);
  }

  void run(std::int32_t index) const {
    const auto& [operation, first, second, out] = problem;
    const bool tf32 = operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const std::vector<float> a = widened(matrix(first_data, first, index), first, tf32);
    const std::vector<float> b = widened(matrix(second_data, second, index), second, tf32);
    void* target = const_cast<void*>(matrix(out_data, out, index));
    std::vector<float> c = accumulate ? widened(target, out, false) : std::vector<float>(out.rows * out.cols);
    // Column-major is row-major transposed: c^T = op(b)^T op(a)^T.
    accrue::kernels::cpu::gemm({.c = c.data(),
                                .a = b.data(),
                                .b = a.data(),
                                .m = static_cast<std::int64_t>(out.cols),
                                .n = static_cast<std::int64_t>(out.rows),
                                .k = static_cast<std::int64_t>(problem.depth()),
                                .c_stride = static_cast<std::int64_t>(out.rows),
                                .a_stride = static_cast<std::int64_t>(second.rows),
                                .b_stride = static_cast<std::int64_t>(first.rows),
                                .transpose_a = operation.transpose_second != CUBLAS_OP_N,
                                .transpose_b = operation.transpose_first != CUBLAS_OP_N,
                                .add_to_c = accumulate});
    finish(c, target);
    if (const Epilogue epilogue = epilogue_of(operation.epilogue); epilogue.sums_first) {
      write_row_sums(a, out.rows);
    } else if (epilogue.sums_second) {
      write_row_sums(b, out.cols);
    }
  }

  // Writes the product to `target` through the epilogue.
  void finish(const std::vector<float>& product, void* target) const {
    const auto& [operation, first, second, out] = problem;
    const Epilogue epilogue = epilogue_of(operation.epilogue);
    auto* gelu_input = const_cast<void*>(operation.gelu_input);
    for (std::size_t column = 0; column < out.cols; ++column)
      for (std::size_t row = 0; row < out.rows; ++row) {
        const std::size_t aside = column * static_cast<std::size_t>(operation.gelu_input_stride) + row;
        float value = product[column * out.rows + row];
        if (epilogue.adds_bias) value += element(operation.bias, operation.bias_type, row);
        if (epilogue.applies_gelu) {
          set_element(gelu_input, out.type, aside, value);
          value = static_cast<float>(gelu(value));
        } else if (epilogue.multiplies_by_gelu_gradient) {
          value *= static_cast<float>(gelu_gradient(element(gelu_input, out.type, aside)));
        }
        set_element(target, out.type, column * static_cast<std::size_t>(out.stride) + row, value);
      }
    accrue::emulator::written_by_host(target, static_cast<std::size_t>(out.stride) * out.cols * size_of(out.type));
    if (epilogue.applies_gelu)
      accrue::emulator::written_by_host(
          gelu_input, static_cast<std::size_t>(operation.gelu_input_stride) * out.cols * size_of(out.type));
  }

  // Of an operand as it is stored, column-major [rows, depth].
  void write_row_sums(const std::vector<float>& operand, std::size_t rows) const {
    auto* sums = const_cast<void*>(problem.operation.bias);
    for (std::size_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (std::size_t depth = 0; depth < problem.depth(); ++depth) sum += operand[depth * rows + row];
      set_element(sums, problem.operation.bias_type, row, static_cast<float>(sum));
    }
    accrue::emulator::written_by_host(sums, rows * size_of(problem.operation.bias_type));
  }
};

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int only;
  *handle = reinterpret_cast<cublasLtHandle_t>(&only);
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    default:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  const bool modelled = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  if (!modelled || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  return create(operation, Operation{.compute = compute});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete operation;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t descriptor, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  auto& operation = content<Operation>(descriptor);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(operation.transpose_first, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(operation.transpose_second, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(operation.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return assign(operation.bias_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(operation.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return assign(operation.gelu_input, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return assign(operation.gelu_input_stride, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t cols, std::int64_t stride) {
  if (!known(type)) return CUBLAS_STATUS_NOT_SUPPORTED;
  return create(layout, Layout{.type = type, .rows = rows, .cols = cols, .stride = stride});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t descriptor,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  auto& layout = content<Layout>(descriptor);
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return assign(layout.batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return assign(layout.batch_stride, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference, Alignments{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
// There is one algorithm, which no other preference changes.
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  auto& alignments = content<Alignments>(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return assign(alignments.first, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return assign(alignments.second, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return assign(alignments.added, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(alignments.out, value, bytes);
    default:
      return CUBLAS_STATUS_SUCCESS;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t first, cublasLtMatrixLayout_t second,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  *found = 0;
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Problem problem{content<Operation>(operation), content<Layout>(first), content<Layout>(second),
                        content<Layout>(out)};
  if (const cublasStatus_t status = problem.status(); status != CUBLAS_STATUS_SUCCESS) return status;
  results[0] = {};
  content<Alignments>(&results[0].algo) = content<Alignments>(preference);
  results[0].workspaceSize = needed_workspace;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha, const void* first,
                              cublasLtMatrixLayout_t first_layout, const void* second,
                              cublasLtMatrixLayout_t second_layout, const void* beta, const void* added,
                              cublasLtMatrixLayout_t, void* out, cublasLtMatrixLayout_t out_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
  const float product_factor = *static_cast<const float*>(alpha), old_factor = *static_cast<const float*>(beta);
  if (product_factor != 1 || (old_factor != 0 && old_factor != 1) || added != out) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (workspace == nullptr || workspace_bytes < needed_workspace || !is_multiple(workspace, 256))
    return CUBLAS_STATUS_INVALID_VALUE;
  const Product product{.problem = {content<Operation>(operation), content<Layout>(first_layout),
                                    content<Layout>(second_layout), content<Layout>(out_layout)},
                        .first_data = first,
                        .second_data = second,
                        .out_data = out,
                        .accumulate = old_factor == 1};
  if (const cublasStatus_t status = product.problem.status(); status != CUBLAS_STATUS_SUCCESS) return status;
  if (!product.is_aligned_for(content<const Alignments>(algorithm))) return CUBLAS_STATUS_INVALID_VALUE;
  accrue::emulator::enqueue(stream, [product] {
    for (std::int32_t i = 0; i < product.problem.out.batch; ++i) product.run(i);
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
