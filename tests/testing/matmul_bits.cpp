#include "tests/testing/matmul_bits.h"

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "kernels/threads.h"
#include "tests/testing/sweep.h"

namespace accrue::testing {

using namespace accrue::kernels;

void expect_same_bits_for_any_number_of_threads(const std::vector<MatmulProblem>& problems) {
  const int before = thread_count();
  for (const MatmulProblem& p : problems) {
    const Tensor a = random_tensor(p.a_shape(), 1), b = random_tensor(p.b_shape(), 2);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 7}) {
      set_thread_count(threads);
      const Tensor out = random_tensor({p.m, p.n}, 3);
      matmul({.out = out,
              .a = a,
              .b = b,
              .transpose_a = p.transpose_a,
              .transpose_b = p.transpose_b,
              .write = Write::accumulate});
      if (threads == 1) first = out.to_vector<float>();
      EXPECT_EQ(out.to_vector<float>(), first) << p.m << " " << p.n << " " << p.k << ", threads " << threads;
    }
  }
  set_thread_count(before);
}

void expect_bits_of_a_row_without_the_other_rows(const std::vector<MatmulProblem>& problems) {
  for (const MatmulProblem& p : problems) {
    if (p.transpose_a) continue;
    constexpr std::int64_t all = 301;
    const Tensor a = random_tensor({all, p.k}, 1), b = random_tensor(p.b_shape(), 2), bias = random_tensor({p.n}, 3);
    const Tensor whole = Tensor::empty({all, p.n});
    matmul({.out = whole, .a = a, .b = b, .transpose_b = p.transpose_b, .bias = bias});
    for (const std::int64_t start : {0, 1, 5, 48, 101})
      for (const std::int64_t rows : {1, 2, 3, 7, 12, 24, 32, 64, 97, 200}) {
        const Tensor part = Tensor::empty({rows, p.n});
        matmul(
            {.out = part, .a = a.view({rows, p.k}, start * p.k), .b = b, .transpose_b = p.transpose_b, .bias = bias});
        ASSERT_EQ(part.to_vector<float>(), whole.view({rows, p.n}, start * p.n).to_vector<float>())
            << "n " << p.n << " k " << p.k << " rows " << start << " to " << start + rows;
      }
  }
}

}  // namespace accrue::testing
