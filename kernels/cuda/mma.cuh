// Products of small matrices on tensor cores (PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions"): a warp
// holds the matrices in pieces, "fragments", that mma multiplies and ldmatrix loads. With lane = 4 * group + thread,
// group 0…7 and thread 0…3, and pairs of neighbouring 16-bit elements in a word, the lower in the lower half:
//
//   A, 16 x 16   word 0: row group, columns 2 * thread and the next    word 2: 8 columns further
//                word 1: row group + 8                                 word 3: both
//   B, 16 x 8    word 0: rows 2 * thread and the next, column group    word 1: 8 rows further
//   C, 16 x 8    elements 0, 1: row group, columns 2 * thread and the next    elements 2, 3: row group + 8
//
// From sm_75 on for f16, from sm_80 on for bf16.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/cuda/check.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/types.cuh"

namespace accrue::kernels::cuda {

struct FragmentA {
  std::uint32_t words[4];
};
struct FragmentB {
  std::uint32_t words[2];
};
struct FragmentC {
  float v[4];
};

// Two elements as a word; each is rounded to nearest.
template <class T>
__device__ inline std::uint32_t pack_pair(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  }
}

// Element 0 or 1 of a word.
template <class T>
__device__ inline float element_of_pair(std::uint32_t pair, unsigned element) {
  return to_float(reinterpret_cast<const T*>(&pair)[element]);
}

#ifdef ACCRUE_CUDA_EMULATED
// What one lane brings to mma_m16n8k16.
struct MmaOperands {
  float a[4][2], b[2][2];  // [word][element]
};

// Not instrumented: this is the innermost loop of every emulated product, and all it touches is local.
__attribute__((no_sanitize("address", "undefined", "thread"))) inline void add_products_of_lanes(
    FragmentC& c, const MmaOperands (&left)[4], const MmaOperands (&right)[2][4]) {
  for (unsigned i = 0; i < 4; ++i) {
    float sum = c.v[i];
    for (unsigned k = 0; k < 16; ++k)
      sum += left[k % 8 / 2].a[i / 2 + 2 * (k / 8)][k % 2] * right[i % 2][k % 8 / 2].b[k / 8][k % 2];
    c.v[i] = sum;
  }
}
#endif

// C += A * B for T = __half or __nv_bfloat16; products are exact, sums are made in f32 but need not be rounded to
// nearest. All lanes of the warp call it together.
template <class T>
__device__ inline void mma_m16n8k16(FragmentC& c, const FragmentA& a, const FragmentB& b ACCRUE_CALLER) {
#ifdef ACCRUE_CUDA_EMULATED
  MmaOperands own;
  for (unsigned element = 0; element < 2; ++element) {
    for (unsigned word = 0; word < 4; ++word) own.a[word][element] = element_of_pair<T>(a.words[word], element);
    for (unsigned word = 0; word < 2; ++word) own.b[word][element] = element_of_pair<T>(b.words[word], element);
  }
  const auto lanes = emulator::exchange(whole_warp, own, "mma.m16n8k16", caller);
  const unsigned group = emulator::lane() / 4, thread = emulator::lane() % 4;
  MmaOperands left[4], right[2][4];  // of the lanes with this group of rows, and of those with the thread's two columns
  for (unsigned other = 0; other < 4; ++other) {
    left[other] = lanes[4 * group + other];
    for (unsigned column = 0; column < 2; ++column) right[column][other] = lanes[4 * (2 * thread + column) + other];
  }
  add_products_of_lanes(c, left, right);
#else
  float(&v)[4] = c.v;
  if constexpr (std::is_same_v<T, __half>) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    // Half of the depth at a time: of both operands, the first words are one half and the last words the other.
#pragma unroll
    for (int half = 0; half < 2; ++half)
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
          : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
          : "r"(a.words[2 * half]), "r"(a.words[2 * half + 1]), "r"(b.words[half]));
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
#endif
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    __trap();  // there is no such instruction; has_mma() says so
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(v[0]), "+f"(v[1]), "+f"(v[2]), "+f"(v[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]), "r"(b.words[1]));
#endif
  }
#endif
}

// Whether the code of this kernel, as this device runs it, has mma_m16n8k16<T>: a device that is new enough may still
// run code that was compiled for an older one.
template <class T, class... Parameters>
bool has_mma([[maybe_unused]] const Tensor& on, [[maybe_unused]] void (*kernel)(Parameters...)) {
#ifdef ACCRUE_CUDA_EMULATED
  return true;
#else
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    stream_of(on);  // makes the device the current one
    cudaFuncAttributes attributes;
    accrue::cuda::check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)),
                        "cudaFuncGetAttributes on {}", on.device().to_string());
    return attributes.ptxVersion >= 80;
  }
  return true;
#endif
}

// Four 8 x 8 matrices of 16-bit elements. Lane 8 * i + r gives the address of row r of matrix i in shared memory, a
// multiple of 16; word i of the result holds of matrix i row `group`, columns 2 * thread and the next.
__device__ inline FragmentA ldmatrix_x4(const void* row ACCRUE_CALLER);
// The same of the transposed matrices: rows 2 * thread and the next, column `group`.
__device__ inline FragmentA ldmatrix_x4_transposed(const void* row ACCRUE_CALLER);

#ifdef ACCRUE_CUDA_EMULATED
// A row of 16-bit elements, as a lane brings it to ldmatrix.
struct MatrixRow {
  std::uint16_t v[8];
};

inline MatrixRow matrix_row(const void* row, emulator::Location caller) {
  if (reinterpret_cast<std::uintptr_t>(row) % sizeof(MatrixRow) != 0)
    emulator::fail("ldmatrix of a row that is not aligned to 16 bytes", caller);
  return *static_cast<const MatrixRow*>(row);
}

inline FragmentA ldmatrix_x4(const void* row, emulator::Location caller) {
  const auto rows = emulator::exchange(whole_warp, matrix_row(row, caller), "ldmatrix.x4", caller);
  const unsigned group = emulator::lane() / 4, thread = emulator::lane() % 4;
  FragmentA result;
  for (unsigned i = 0; i < 4; ++i) {
    const MatrixRow own = rows[8 * i + group];
    result.words[i] = own.v[2 * thread] | std::uint32_t{own.v[2 * thread + 1]} << 16;
  }
  return result;
}

inline FragmentA ldmatrix_x4_transposed(const void* row, emulator::Location caller) {
  const auto rows = emulator::exchange(whole_warp, matrix_row(row, caller), "ldmatrix.x4.trans", caller);
  const unsigned group = emulator::lane() / 4, thread = emulator::lane() % 4;
  FragmentA result;
  for (unsigned i = 0; i < 4; ++i) {
    const MatrixRow low = rows[8 * i + 2 * thread], high = rows[8 * i + 2 * thread + 1];
    result.words[i] = low.v[group] | std::uint32_t{high.v[group]} << 16;
  }
  return result;
}
#else
__device__ inline FragmentA ldmatrix_x4(const void* row) {
  FragmentA result;
  std::uint32_t(&w)[4] = result.words;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
               : "r"(shared_address(row))
               : "memory");
  return result;
}
__device__ inline FragmentA ldmatrix_x4_transposed(const void* row) {
  FragmentA result;
  std::uint32_t(&w)[4] = result.words;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
               : "r"(shared_address(row))
               : "memory");
  return result;
}
#endif

}  // namespace accrue::kernels::cuda
