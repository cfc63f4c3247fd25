// The wrappers of cp_async.cuh: what arrives, and that a wait for a group leaves later groups alone.
#include "kernels/cuda/cp_async.cuh"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "core/tensor.h"
#include "kernels/cuda/types.cuh"

#include "tests/testing/needs_cuda.h"

namespace accrue::kernels::cuda {
namespace {

constexpr int copy_threads = 64;

// Two groups of one copy a thread, of `size` bytes; every third copy asks for zeros. Each group is read by other
// threads than those that copied it.
template <int size>
__global__ void copy_two_groups(std::int32_t* to, const std::int32_t* from) {
  constexpr int words = size / 4;
  alignas(16) __shared__ std::int32_t shared[2][copy_threads * words];
  const int thread = static_cast<int>(threadIdx.x), other = copy_threads - 1 - thread;
  const auto start = [&](int group) {
    const int at = thread * words;
    copy_async<size>(shared[group] + at, from + group * copy_threads * words + at,
                     thread % 3 == group ? Arrives::zeros : Arrives::bytes);
    copy_async_commit();
  };
  const auto read = [&](int group) {
    __syncthreads();
    for (int i = 0; i < words; ++i) to[(group * copy_threads + other) * words + i] = shared[group][other * words + i];
  };
  start(0);
  start(1);
  copy_async_wait<1>();
  read(0);
  copy_async_wait<0>();
  read(1);
}

template <int size>
void expect_copies() {
  constexpr int words = size / 4;
  std::vector<std::int32_t> values(2 * copy_threads * words);
  std::iota(values.begin(), values.end(), 1);
  const auto count = static_cast<std::int64_t>(values.size());
  const Tensor from = Tensor::from<std::int32_t>(values, {count}, Device::cuda());
  const Tensor to = Tensor::zeros({count}, DType::i32, Device::cuda());
  launch({.name = "copy_two_groups", .on = to, .grid = 1, .block = copy_threads}, copy_two_groups<size>,
         elements<std::int32_t>(to), elements<std::int32_t>(from));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t copy = i / words, group = copy / copy_threads;
    if (copy % copy_threads % 3 == group) values[i] = 0;
  }
  EXPECT_EQ(to.to_vector<std::int32_t>(), values);
}

class CpAsync : public accrue::testing::NeedsCuda {};

TEST_F(CpAsync, BringsSixteenBytesOrZeros) { expect_copies<16>(); }
TEST_F(CpAsync, BringsFourBytesOrZeros) { expect_copies<4>(); }

}  // namespace
}  // namespace accrue::kernels::cuda
