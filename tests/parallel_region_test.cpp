// Kernels with scratch memory for each thread, called by a program that has threads of its own.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <functional>

#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/matmul_precision.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::parallel_region_test {
namespace {

using namespace accrue::testing;

using Kernel = std::function<void()>;

// The workspace that the kernel takes.
std::size_t scratch_of(const Kernel& kernel) {
  Allocator& allocator = Allocator::of(Device::cpu());
  const std::size_t before = allocator.stats()[Category::workspace].live;
  allocator.reset_peak();
  kernel();
  return allocator.stats()[Category::workspace].peak - before;
}

// How many bytes change right behind the scratch of a kernel that the last of two threads of a parallel region calls.
// The kernel has one piece of work, which stays on the thread that calls it.
std::ptrdiff_t bytes_written_behind_scratch(const Kernel& kernel) {
  const std::size_t scratch = scratch_of(kernel);
  EXPECT_GT(scratch, 0u);
  std::ptrdiff_t written = -1;
#pragma omp parallel num_threads(2)
  if (omp_get_thread_num() == 1) {
    Allocator& allocator = Allocator::of(Device::cpu());
    // The allocator fills the hole before the guard with the scratch: it is the free block that fits best.
    void* const hole = allocator.allocate(scratch, Category::data);
    auto* const guard = static_cast<std::byte*>(allocator.allocate(scratch, Category::data));
    std::fill_n(guard, scratch, std::byte{0x5a});
    allocator.deallocate(hole);
    kernel();
    written = std::count_if(guard, guard + scratch, [](std::byte b) { return b != std::byte{0x5a}; });
    allocator.deallocate(guard);
  }
  return written;
}

TEST(ParallelRegion, MatmulOfACallersThreadStaysInItsScratch) {
  const Tensor a = random_tensor({32, 64}, 1), b = random_tensor({64, 32}, 2), out = Tensor::empty({32, 32});
  const Kernel kernel = [&] { matmul({.out = out, .a = a, .b = b}); };
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
    const ProductsIn products(precision);
    if (precision == MatmulPrecision::bf16 && !cpu_multiplies_bf16()) continue;  // rounded copies, and f32's scratch
    EXPECT_EQ(bytes_written_behind_scratch(kernel), 0);
  }
}

TEST(ParallelRegion, AttentionOfACallersThreadStaysInItsScratch) {
  const Tensor qkv = random_tensor({1, 8, 48}, 1), dy = random_tensor({1, 8, 16}, 2);
  const Tensor y = Tensor::empty({1, 8, 16}), logsumexp = Tensor::empty({1, 1, 8}), dqkv = Tensor::empty({1, 8, 48});
  EXPECT_EQ(bytes_written_behind_scratch([&] { attention_forward({.y = y, .logsumexp = logsumexp, .qkv = qkv}); }), 0);
  const Kernel backward = [&] {
    attention_backward({.dqkv = dqkv, .dy = dy, .y = y, .logsumexp = logsumexp, .qkv = qkv});
  };
  EXPECT_EQ(bytes_written_behind_scratch(backward), 0);
}

TEST(ParallelRegion, AProductHasTheSameBitsInEveryThreadOfACaller) {
  const Tensor a = random_tensor({64, 32}, 1), b = random_tensor({64, 32}, 2);
  const Tensor expected = Tensor::empty({32, 32});
  matmul({.out = expected, .a = a, .b = b, .transpose_a = true});
  const Tensor outs[] = {Tensor::zeros({32, 32}), Tensor::zeros({32, 32}), Tensor::zeros({32, 32})};
#pragma omp parallel for num_threads(3)
  for (int i = 0; i < 3; ++i) matmul({.out = outs[i], .a = a, .b = b, .transpose_a = true});
  for (const Tensor& out : outs) EXPECT_EQ(out.to_vector<float>(), expected.to_vector<float>());
}

}  // namespace
}  // namespace accrue::kernels::parallel_region_test
