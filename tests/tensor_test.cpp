#include "core/tensor.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "core/cuda_devices.h"
#include "testing/compare.h"

namespace accrue::tensor_test {
namespace {

using testing::error_message;

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from<float>(values, shape);
}

std::size_t live(Category category) { return Allocator::of(Device::cpu()).stats()[category].live; }

TEST(Tensor, IsUndefinedUntilItIsMade) {
  const Tensor nothing;
  EXPECT_FALSE(nothing.defined());
  EXPECT_FALSE(nothing);
  EXPECT_EQ(error_message([&] { nothing.data<float>(); }), "Tensor: an undefined tensor has no data");
  EXPECT_EQ(error_message([&] { nothing.device(); }), "Tensor: an undefined tensor is on no device");
  EXPECT_EQ(error_message([&] { nothing.view({1}); }), "Tensor: a view of an undefined tensor");
  EXPECT_EQ(error_message([&] { nothing.clone(); }), "Tensor: an undefined tensor is on no device");
}

TEST(Tensor, KnowsItsShapeTypeAndBytes) {
  const Tensor x = Tensor::empty({2, 3}, DType::bf16);
  EXPECT_TRUE(x.defined());
  EXPECT_EQ(x.shape(), (Shape{2, 3}));
  EXPECT_EQ(x.dtype(), DType::bf16);
  EXPECT_EQ(x.numel(), 6);
  EXPECT_EQ(x.bytes(), 12u);
  EXPECT_EQ(x.device(), Device::cpu());
}

TEST(Tensor, MovesValuesToTheDeviceAndBack) {
  const std::vector<std::int32_t> ids = {3, 1, -4};
  const Tensor x = Tensor::from<std::int32_t>(ids, {3});
  EXPECT_EQ(x.dtype(), DType::i32);
  EXPECT_EQ(x.to_vector<std::int32_t>(), ids);
  const std::vector<std::int32_t> others = {7, 8, 9};
  x.copy_from_host<std::int32_t>(others);
  EXPECT_EQ(x.to_vector<std::int32_t>(), others);
}

TEST(Tensor, OfZerosHoldsZerosEvenInUsedMemory) {
  { const Tensor used = counting({1000}); }
  EXPECT_EQ(Tensor::zeros({1000}).to_vector<float>(), std::vector<float>(1000, 0.0f));
}

TEST(Tensor, WithoutElementsIsDefined) {
  const Tensor x = Tensor::zeros({0, 5});
  EXPECT_TRUE(x.defined());
  EXPECT_EQ(x.bytes(), 0u);
  EXPECT_TRUE(x.to_vector<float>().empty());
  EXPECT_EQ(x.clone().shape(), (Shape{0, 5}));
}

TEST(Tensor, GivesItsOnlyElement) {
  EXPECT_EQ(Tensor::from<float>(std::vector<float>{2.5f}, {1, 1}).item<float>(), 2.5f);
  EXPECT_EQ(error_message([] { counting({2}).item<float>(); }),
            "Tensor: item() needs exactly one element, but the shape is [2]");
}

TEST(Tensor, IsReadOnlyAsTheTypeItHas) {
  EXPECT_EQ(error_message([] { Tensor::empty({2}, DType::f16).data<float>(); }),
            "Tensor: data<f32>() of a tensor of f16");
  EXPECT_EQ(error_message([] { counting({2}).to_vector<std::int32_t>(); }), "Tensor: data<i32>() of a tensor of f32");
}

TEST(Tensor, RefusesAnotherNumberOfValues) {
  EXPECT_EQ(error_message([] {
              Tensor::from<float>(std::vector<float>(5), {2, 3});
            }),
            "Tensor: 5 values for shape [2, 3]");
}

TEST(Tensor, RefusesBytesBeyondCounting) {
  const Shape shape{std::int64_t{1} << 62};
  EXPECT_EQ(error_message([&] { Tensor::empty(shape); }),
            "Tensor: the bytes of f32 [4611686018427387904] do not fit 63 bits");
}

TEST(Tensor, CopiesAreTheSameTensor) {
  const Tensor x = counting({4});
  const Tensor same = x;
  EXPECT_EQ(same.id(), x.id());
  EXPECT_EQ(same.raw(), x.raw());
  same.data<float>()[0] = 9;
  EXPECT_EQ(x.data<float>()[0], 9.0f);
}

TEST(Tensor, EveryNewOneHasItsOwnId) {
  const Tensor x = counting({4});
  EXPECT_NE(x.id(), 0u);
  EXPECT_NE(counting({4}).id(), x.id());
  EXPECT_NE(empty_like(x).id(), x.id());
  EXPECT_NE(x.clone().id(), x.id());
}

TEST(TensorView, SharesBytesAndHasItsOwnIdEvenAtOffsetZero) {
  const Tensor x = counting({2, 3});
  const Tensor flat = x.view({6});
  EXPECT_EQ(flat.raw(), x.raw());
  EXPECT_NE(flat.id(), x.id());
  flat.data<float>()[5] = -1;
  EXPECT_EQ(x.to_vector<float>()[5], -1.0f);
}

TEST(TensorView, OfAViewAddsTheOffsets) {
  const Tensor x = counting({10});
  const Tensor tail = x.view({6}, 4);
  EXPECT_EQ(tail.to_vector<float>(), (std::vector<float>{4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(tail.view({2}, 3).to_vector<float>(), (std::vector<float>{7, 8}));
}

TEST(TensorView, StaysInsideItsBase) {
  const Tensor x = counting({10}), tail = x.view({6}, 4);
  EXPECT_EQ(x.view({0}, 10).numel(), 0);
  EXPECT_EQ(error_message([&] { x.view({11}); }), "Tensor: a view [11] at element 0 does not fit into [10]");
  EXPECT_EQ(error_message([&] { x.view({10}, 1); }), "Tensor: a view [10] at element 1 does not fit into [10]");
  EXPECT_EQ(error_message([&] { x.view({1}, -1); }), "Tensor: a view [1] at element -1 does not fit into [10]");
  EXPECT_EQ(error_message([&] { x.view({0}, 11); }), "Tensor: a view [0] at element 11 does not fit into [10]");
  EXPECT_EQ(error_message([&] { x.view({1}, std::numeric_limits<std::int64_t>::max()); }),
            "Tensor: a view [1] at element 9223372036854775807 does not fit into [10]");
  EXPECT_EQ(error_message([&] { tail.view({7}); }), "Tensor: a view [7] at element 0 does not fit into [6]");
}

TEST(TensorView, KeepsTheBytesAliveAfterItsBase) {
  Tensor tail;
  const std::size_t before = live(Category::data);
  {
    const Tensor x = counting({10});
    tail = x.view({2}, 8);
    EXPECT_TRUE(x.shares_storage());
  }
  EXPECT_FALSE(tail.shares_storage());
  EXPECT_EQ(live(Category::data), before + 64);
  EXPECT_EQ(tail.to_vector<float>(), (std::vector<float>{8, 9}));
  tail = {};
  EXPECT_EQ(live(Category::data), before);
}

TEST(Tensor, BytesBelongToTheirCategoryUntilTheLastHandleGoes) {
  const std::size_t before = live(Category::workspace);
  {
    const Tensor x = Tensor::empty({100}, DType::f32, Device::cpu(), Category::workspace);
    const Tensor same = x;
    EXPECT_EQ(live(Category::workspace), before + 448);  // 400 rounded up to 64
  }
  EXPECT_EQ(live(Category::workspace), before);
}

TEST(Tensor, CloneHasItsOwnBytes) {
  const Tensor x = counting({6}).view({3}, 2);
  const Tensor copy = x.clone();
  copy.data<float>()[0] = 100;
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{2, 3, 4}));
  EXPECT_EQ(copy.to_vector<float>(), (std::vector<float>{100, 3, 4}));
  EXPECT_FALSE(copy.shares_storage());
}

TEST(Tensor, FillZeroOfAViewLeavesTheRest) {
  const Tensor x = counting({6});
  x.view({2}, 3).fill_zero();
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 1, 2, 0, 0, 5}));
}

TEST(Tensor, CopyFromNeedsTheSameShapeAndType) {
  const Tensor x = Tensor::zeros({2, 3});
  x.copy_from(counting({2, 3}));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(error_message([&] { x.copy_from(counting({6})); }),
            "Tensor: copy_from needs f32 [2, 3] on cpu, but got f32 [6] on cpu");
  EXPECT_EQ(error_message([&] {
              x.copy_from(Tensor::empty({2, 3}, DType::f16));
            }),
            "Tensor: copy_from needs f32 [2, 3] on cpu, but got f16 [2, 3] on cpu");
  EXPECT_EQ(error_message([&] { x.copy_from(Tensor()); }), "Tensor: an undefined tensor is on no device");
}

TEST(Device, IsParsedFromItsName) {
  const bool has_gpu = cuda::usable(0) && !cuda::emulated();
  EXPECT_EQ(parse_device("auto"), has_gpu ? Device::cuda() : Device::cpu());
  EXPECT_EQ(parse_device("cpu"), Device::cpu());
  EXPECT_EQ(Device::cpu().to_string(), "cpu");
  EXPECT_EQ((Device{.kind = DeviceKind::cuda, .index = 2}.to_string()), "cuda:2");
  EXPECT_EQ(error_message([] { parse_device("tpu"); }, ErrorKind::usage),
            "--device tpu: unknown device; use auto, cpu or cuda");
  for (const char* wrong : {"cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:99999999999"})
    EXPECT_EQ(error_message([&] { parse_device(wrong); }, ErrorKind::usage),
              fmt::format("--device {}: cuda: must be followed by the number of a device, as in cuda:0", wrong));
}

TEST(Device, ThatIsNotHereIsRefusedWithTheReason) {
  const int count = cuda::device_count();
  if (count == 0) {
    EXPECT_EQ(error_message([] { parse_device("cuda:0"); }, ErrorKind::no_device),
              "--device cuda:0: " + cuda::why_unavailable());
    EXPECT_EQ(error_message([] { Tensor::empty({1}, DType::f32, Device::cuda()); }, ErrorKind::no_device),
              "cuda:0: " + cuda::why_unavailable());
    return;
  }
  EXPECT_EQ(parse_device("cuda"), Device::cuda());
  const std::string beyond = fmt::format("cuda:{}", count);
  EXPECT_EQ(error_message([&] { parse_device(beyond); }, ErrorKind::no_device),
            fmt::format("--device {}: this machine has cuda:0 to cuda:{} only", beyond, count - 1));
}

}  // namespace
}  // namespace accrue::tensor_test
