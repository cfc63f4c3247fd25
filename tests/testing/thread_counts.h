// Results must not depend on the number of threads.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/tensor.h"
#include "kernels/threads.h"

namespace accrue::testing {

// Runs `compute` (which returns tensors on the CPU) with 1, 2 and 3 threads and compares the bytes of what it returns.
template <class Function>
void expect_same_bits_for_any_thread_count(Function&& compute) {
  const int before = kernels::thread_count();
  kernels::set_thread_count(1);
  const std::vector<Tensor> reference = compute();
  for (const int threads : {2, 3}) {
    kernels::set_thread_count(threads);
    const std::vector<Tensor> actual = compute();
    ASSERT_EQ(actual.size(), reference.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      EXPECT_EQ(std::memcmp(actual[i].raw(), reference[i].raw(), reference[i].bytes()), 0)
          << "result " << i << " differs with " << threads << " threads";
  }
  kernels::set_thread_count(before);
}

}  // namespace accrue::testing
