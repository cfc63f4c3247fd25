// How products of f32 matrices are computed.
#pragma once

namespace accrue::kernels {

// f32: exact products, summed in f32.
// bf16: operands rounded to bf16 first (8 significant bits; to nearest, ties to even), sums in f32. Fast on GPUs since
//   Ampere and on CPUs with AVX512_BF16; other CPUs round and then multiply in f32.
// tf32: operands rounded to 10 bits of fraction first, on the tensor cores of GPUs since Ampere; sums in f32. The CPU
//   computes in f32.
// Products of f16 and bf16 operands are the same with all of them.
enum class MatmulPrecision { f32, tf32, bf16 };

// Of the whole process from now on; f32 unless set.
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();

// Whether the CPU has instructions for products in bf16 (and Highway may use AVX-512).
bool cpu_multiplies_bf16();

}  // namespace accrue::kernels
