// One matrix product as the CPU's kernels hand it on.
#pragma once

#include <cstdint>

namespace accrue::kernels::cpu {

// out = op(a) · op(b) + bias, or out += op(a) · op(b): row-major f32, op(a) [m, k], op(b) [k, n], out [m, n], each
// stored without gaps.
struct Product {
  float* out;
  const float *a, *b;
  const float* bias;  // [n], may be null
  std::int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
  bool rows_are_samples;  // of a forward or of its input's gradient: how many there are changes with the micro-batch

  // The i-th product of a batch, whose operands lie behind those of the last.
  Product of_batch(std::int64_t i) const {
    Product p = *this;
    p.out += i * m * n;
    p.a += i * m * k;
    p.b += i * k * n;
    return p;
  }
};

}  // namespace accrue::kernels::cpu
