// How products of f32 matrices are computed.
#pragma once

namespace accrue::kernels {

enum class MatmulPrecision {
  // Exact products, summed in f32.
  f32,
  // On the tensor cores of GPUs since Ampere: operands rounded to 10 bits of fraction first, sums in f32. On the CPU as
  // f32.
  tf32,
  // On the CPU: operands rounded to bf16 first (8 significant bits; to nearest, ties to even), sums in f32. With
  // AVX512_BF16 by its instructions, to which subnormal numbers, operands and results, are zeros; without, in f32. On a
  // GPU as f32: there, what is to be fast in bf16 is kept in it.
  bf16,
};
// Products of f16 and bf16 operands are the same with all of them.

// Of the whole process from now on; f32 unless set.
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();

// That precision as long as this lives, then the one before.
class ProductsIn {
 public:
  explicit ProductsIn(MatmulPrecision precision) : before_(matmul_precision()) { set_matmul_precision(precision); }
  ~ProductsIn() { set_matmul_precision(before_); }
  ProductsIn(const ProductsIn&) = delete;
  ProductsIn& operator=(const ProductsIn&) = delete;

 private:
  MatmulPrecision before_;
};

// Whether the CPU has instructions for products in bf16 (and Highway may use AVX-512).
bool cpu_multiplies_bf16();

}  // namespace accrue::kernels
