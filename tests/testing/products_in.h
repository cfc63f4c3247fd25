// Matrix products of another precision, for as long as a test wants them.
#pragma once

#include "kernels/matmul_precision.h"

namespace accrue::testing {

class ProductsIn {
 public:
  explicit ProductsIn(kernels::MatmulPrecision precision) : before_(kernels::matmul_precision()) {
    kernels::set_matmul_precision(precision);
  }
  ~ProductsIn() { kernels::set_matmul_precision(before_); }
  ProductsIn(const ProductsIn&) = delete;
  ProductsIn& operator=(const ProductsIn&) = delete;

 private:
  kernels::MatmulPrecision before_;
};

}  // namespace accrue::testing
