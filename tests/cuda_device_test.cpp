// What the memory of a CUDA device does beyond the CPU's: copies that wait their turn, uploads beside the computation.
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "core/cuda_devices.h"
#include "kernels/add.h"
#include "kernels/scale.h"
#include "tests/testing/compare.h"
#include "tests/testing/needs_cuda.h"
#include "tests/testing/sweep.h"

namespace accrue::cuda_device_test {
namespace {

using namespace accrue::testing;

class CudaDevice : public NeedsCuda {
 protected:
  const Device device = Device::cuda();
};

TEST_F(CudaDevice, DescribesItself) {
  EXPECT_NE(cuda::description(0).find("compute capability"), std::string::npos) << cuda::description(0);
}

TEST_F(CudaDevice, ValuesOfAnySizeComeBackAsTheyWent) {
  // Around and beyond the pinned buffers of 1 MiB that host memory passes through.
  for (const std::int64_t count : {0, 1, 262143, 262144, 262145, 900000}) {
    const std::vector<float> values = random_floats(count, 1);
    EXPECT_EQ(Tensor::from<float>(values, {count}, device).to_vector<float>(), values);
    const Tensor x = Tensor::empty({count}, DType::f32, device);
    x.copy_from_host(std::span<const float>(values));
    EXPECT_EQ(x.clone().to_vector<float>(), values);
  }
}

TEST_F(CudaDevice, TheHostMayChangeItsValuesAsSoonAsACopyReturns) {
  std::vector<float> values(300000, 1.0f);
  const Tensor uploaded = Tensor::from<float>(values, {300000}, device);
  std::fill(values.begin(), values.end(), 2.0f);
  const Tensor copied = Tensor::empty({300000}, DType::f32, device);
  copied.copy_from_host(std::span<const float>(values));
  std::fill(values.begin(), values.end(), 3.0f);
  EXPECT_EQ(uploaded.to_vector<float>(), std::vector<float>(300000, 1.0f));
  EXPECT_EQ(copied.to_vector<float>(), std::vector<float>(300000, 2.0f));
}

TEST_F(CudaDevice, ACopyIntoATensorWaitsForWhoReadsItsOldValues) {
  const Tensor x = tensor_of(std::vector<float>(1000, 1.0f), {1000}, DType::f32, device), y = empty_like(x);
  kernels::scale({.out = y, .x = x, .factor_host = 10});
  const std::vector<float> twos(1000, 2.0f);
  x.copy_from_host(std::span<const float>(twos));
  EXPECT_EQ(y.to_vector<float>(), std::vector<float>(1000, 10.0f));
  EXPECT_EQ(x.to_vector<float>(), twos);
}

// Each upload gets the memory of one that has just been given back, while the sum that reads it may still wait.
TEST_F(CudaDevice, AnUploadWaitsForWhoReadTheBlockBeforeIt) {
  const Tensor sum = Tensor::zeros({5000}, DType::f32, device);
  double expected = 0;
  for (int i = 1; i <= 20; ++i) {
    const Tensor x = tensor_of(std::vector<float>(5000, static_cast<float>(i)), {5000}, DType::f32, device);
    kernels::add({.out = sum, .a = sum, .b = x});
    expected += i;
  }
  EXPECT_EQ(to_doubles(sum), std::vector<double>(5000, expected));
}

TEST_F(CudaDevice, FreedMemoryIsHandedOutAgain) {
  Allocator& allocator = Allocator::of(device);
  const MemoryStats before = allocator.stats();
  for (int i = 0; i < 100; ++i) Tensor::empty({1 << 20}, DType::f32, device, Category::workspace);
  EXPECT_EQ(allocator.stats().total.live, before.total.live);
  EXPECT_LE(allocator.stats().reserved, before.reserved + (std::size_t{32} << 20));
}

TEST_F(CudaDevice, TooLargeARequestSaysWhatIsFree) {
  const std::string message = error_message(
      [&] { Tensor::empty({std::int64_t{1} << 44}, DType::f32, device, Category::activations); }, ErrorKind::memory);
  EXPECT_NE(message.find("out of memory on cuda:0: 64.0 TiB of activations needed"), std::string::npos) << message;
  // The device is as usable as before.
  EXPECT_EQ(to_doubles(Tensor::zeros({3}, DType::f32, device)), (std::vector<double>{0, 0, 0}));
}

TEST_F(CudaDevice, DirectBlocksGoBackAtOnce) {
  Allocator allocator(device, cuda::memory(0), Allocator::Blocks::direct);
  void* a = allocator.allocate(100, Category::workspace);
  void* b = allocator.allocate(1, Category::data);
  EXPECT_EQ(allocator.stats().reserved, 101u);
  EXPECT_EQ(allocator.stats().total.live, 192u);  // as every allocator counts: in steps of its alignment
  allocator.deallocate(a);
  EXPECT_EQ(allocator.stats().reserved, 1u);
  allocator.deallocate(b);
  EXPECT_EQ(allocator.stats().reserved, 0u);
}

}  // namespace
}  // namespace accrue::cuda_device_test
