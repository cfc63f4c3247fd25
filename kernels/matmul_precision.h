// How f32 matrix products are computed on a GPU.
#pragma once

namespace accrue::kernels {

// f32: exact products, summed in f32. tf32: operands rounded to 10 bits of fraction first, on the tensor cores of GPUs
// since Ampere; sums in f32. Products of f16 and bf16 operands, and the CPU, are the same with both.
enum class MatmulPrecision { f32, tf32 };

// Of the whole process from now on; f32 unless set.
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();

}  // namespace accrue::kernels
