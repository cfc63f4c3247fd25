#include "kernels/find_overflow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/gradient_check.h"
#include "testing/compare.h"
#include "testing/sweep.h"

namespace accrue::kernels::find_overflow_test {
namespace {

using namespace accrue::testing;

// Three slices with padding between them, not in the order of the buffer.
const std::vector<GradientSlice> three = {
    {.begin = 2048, .count = 1000}, {.begin = 0, .count = 33}, {.begin = 64, .count = 1}};

std::int32_t found(Device device, const std::vector<float>& gradient, const std::vector<GradientSlice>& slices,
                   DType dtype = DType::f32) {
  const Tensor state = make_step_state(device),
               flat = tensor_of(gradient, {static_cast<std::int64_t>(gradient.size())}, dtype, device);
  gradient_check({.state = state, .gradient = flat});
  find_overflow({.state = state, .gradient = flat, .slices = gradient_slices(slices, device)});
  return read_step_state(state).overflowed;
}

TEST(FindOverflow, NamesTheSliceOfAnyElementThatIsNotFinite) {
  for (const Device device : devices())
    for (const DType dtype : gradient_dtypes)
      for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF})
        for (std::size_t slice = 0; slice < three.size(); ++slice)
          for (const std::int64_t element : {std::int64_t{0}, three[slice].count / 2, three[slice].count - 1}) {
            std::vector<float> gradient(3100, 1);
            gradient[static_cast<std::size_t>(three[slice].begin + element)] = bad;
            EXPECT_EQ(found(device, gradient, three, dtype), static_cast<std::int32_t>(slice))
                << name_of(dtype) << " on " << device.to_string();
          }
}

TEST(FindOverflow, NamesTheLastInTheForwardPassOfSeveral) {
  for (const Device device : devices()) {
    std::vector<float> gradient(3100, 1);
    gradient[2048] = gradient[5] = HUGE_VALF;
    EXPECT_EQ(found(device, gradient, three), 1);
    gradient[64] = std::nanf("");
    EXPECT_EQ(found(device, gradient, three), 2);
  }
}

TEST(FindOverflow, NamesNoneWhereAllIsFinite) {
  for (const Device device : devices()) {
    EXPECT_EQ(found(device, std::vector<float>(3100, std::numeric_limits<float>::max()), three), -1);
    EXPECT_EQ(found(device, std::vector<float>(3100, 0), three), -1);
    EXPECT_EQ(found(device, std::vector<float>(3100, 0x1.fep127f), three, DType::bf16), -1);
  }
}

// What lies between the slices belongs to nobody.
TEST(FindOverflow, NamesNoneForTheBytesBetweenSlices) {
  for (const Device device : devices()) {
    std::vector<float> gradient(3100, 1);
    gradient[40] = std::nanf("");
    EXPECT_EQ(found(device, gradient, three), -1);
  }
}

TEST(FindOverflow, NamesTheOperandThatDoesNotFit) {
  const Tensor state = make_step_state(Device::cpu()), gradient = Tensor::zeros({4}),
               slices = gradient_slices(three, Device::cpu());
  const auto message = [](const FindOverflow& op) { return error_message([&] { find_overflow(op); }); };
  EXPECT_EQ(message({.gradient = gradient, .slices = slices}), "find_overflow: state must be given");
  EXPECT_EQ(message({.state = state, .slices = slices}), "find_overflow: gradient must be given");
  EXPECT_EQ(message({.state = state, .gradient = gradient}), "find_overflow: slices must be given");
  EXPECT_EQ(message({.state = state, .gradient = Tensor::zeros({4}, DType::f16), .slices = slices}),
            "find_overflow: gradient must be f32 or bf16, but is f16");
  EXPECT_EQ(message({.state = state, .gradient = gradient, .slices = Tensor::zeros({17}, DType::u8)}),
            "find_overflow: slices must be records of 16 bytes, as made by gradient_slices, but has 17 bytes");
}

}  // namespace
}  // namespace accrue::kernels::find_overflow_test
