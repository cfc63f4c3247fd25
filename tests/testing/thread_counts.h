// Results must not depend on the number of threads.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "core/tensor.h"
#include "kernels/threads.h"

namespace accrue::testing {

inline std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes());
  Allocator::of(tensor.device()).memory().copy_to_host(bytes.data(), tensor.raw(), bytes.size());
  return bytes;
}

// Runs `compute` (which returns tensors) with 1, 2 and 3 threads and compares the bytes of what it returns. On a device
// that is not the CPU the threads are the device's own affair, and these are three runs.
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
      EXPECT_EQ(bytes_of(actual[i]), bytes_of(reference[i]))
          << "result " << i << " differs with " << threads << " threads";
  }
  kernels::set_thread_count(before);
}

}  // namespace accrue::testing
