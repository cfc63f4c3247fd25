#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/cuda_devices.h"
#include "tests/testing/compare.h"
#include "tests/testing/reference_gelu.h"
#include "tests/testing/reference_matmul.h"
#include "tests/testing/sweep.h"
#include "tests/testing/with_epilogues.h"

namespace accrue::kernels {
namespace {

using namespace accrue::testing;

constexpr double u = unit_roundoff(DType::f32);

struct Sizes {
  std::int64_t rows, in, out;
};

// Around a vector, with widths that a fused GELU takes (multiples of 8) and that it does not.
const std::vector<Sizes> sweep = {{1, 1, 1}, {7, 33, 8}, {33, 40, 32}, {31, 8, 33}, {130, 65, 96}};

Tensor nans(const Shape& shape, DType dtype, Device device) {
  return tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), std::nanf("")), shape, dtype, device);
}

// Calls function(device, dtype, sizes) for everything, under each choice of epilogues.
template <class Function>
void for_each_case(Function&& function) {
  for (const Device device : devices())
    for (const DType dtype : activation_dtypes(device))
      for (const Sizes& sizes : sweep)
        with_each_epilogue_setting(device, [&] {
          SCOPED_TRACE(fmt::format("{} on {}, [{}, {}] to {}", name_of(dtype), device.to_string(), sizes.rows, sizes.in,
                                   sizes.out));
          function(device, dtype, sizes);
        });
}

// Of a sum of `terms` products in f32: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.
double sum_bound(std::int64_t terms, double magnitude) {
  const double tu = static_cast<double>(terms) * u;
  return tu / (1 - tu) * magnitude;
}

// How far the GELU of cuBLASLt, which tells nothing of it, may be from the formula: as far as the hardware's tanh, with
// 11 bits.
double library_gelu_error(Device device, double x) {
  return device.kind == DeviceKind::cuda && !accrue::cuda::emulated() ? std::abs(x) * 0x1p-11 : 0;
}

// |gelu'| is below 1.13, its slope below 1.2.
constexpr double steepest = 1.13;

TEST(LinearGelu, MatchesTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    for (const bool biased : {true, false}) {
      const Tensor x = random_tensor({s.rows, s.in}, 1, dtype, device),
                   weight = random_tensor({s.in, s.out}, 2, dtype, device, 0, 0.3f),
                   bias = biased ? random_tensor({s.out}, 3, dtype, device) : Tensor();
      const Tensor z = nans({s.rows, s.out}, dtype, device), y = nans({s.rows, s.out}, dtype, device);
      linear_gelu({.y = y, .z = z, .x = x, .weight = weight, .bias = bias});

      MatmulReference r = reference_of({s.rows, s.out, s.in}, to_doubles(x), to_doubles(weight));
      const std::vector<double> biases = biased ? to_doubles(bias) : std::vector<double>();
      std::vector<double> expected_y, bounds_z, bounds_y;
      for (std::size_t i = 0; i < r.product.size(); ++i) {
        const double added = biased ? biases[i % static_cast<std::size_t>(s.out)] : 0;
        r.product[i] += added;
        const double in_f32 = sum_bound(s.in + 1, r.magnitude[i] + std::abs(added));
        bounds_z.push_back(in_f32);
        const Gelu gelu(r.product[i]);
        expected_y.push_back(gelu.value);
        // Of z as it is stored, or of z before it is rounded.
        const double of_z = in_f32 + rounding_error(dtype, std::abs(r.product[i]) + in_f32);
        bounds_y.push_back(steepest * of_z + gelu.value_bound() + library_gelu_error(device, r.product[i]));
      }
      EXPECT_TRUE(within(z, r.product, rounded_once(bounds_z, r.product, dtype)));
      EXPECT_TRUE(within(y, expected_y, rounded_once(bounds_y, expected_y, dtype)));
    }
  });
}

TEST(LinearGelu, BackwardMatchesTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    // z and dz are as wide as the hidden layer, which is the layer's input here.
    const Tensor dy = random_tensor({s.rows, s.in}, 1, dtype, device),
                 weight = random_tensor({s.out, s.in}, 2, dtype, device, 0, 0.3f),
                 z = random_tensor({s.rows, s.out}, 3, dtype, device, 0, 2), dz = nans({s.rows, s.out}, dtype, device);
    linear_gelu_backward({.dz = dz, .dy = dy, .weight = weight, .z = z});

    const MatmulReference r = reference_of({s.rows, s.out, s.in, false, true}, to_doubles(dy), to_doubles(weight));
    const std::vector<double> zs = to_doubles(z);
    std::vector<double> expected, bounds;
    for (std::size_t i = 0; i < zs.size(); ++i) {
      const Gelu gelu(zs[i]);
      expected.push_back(r.product[i] * gelu.derivative);
      double of_product = sum_bound(s.in, r.magnitude[i]);
      of_product += rounding_error(dtype, std::abs(r.product[i]) + of_product);
      bounds.push_back(steepest * of_product +
                       (std::abs(r.product[i]) + of_product) *
                           (gelu.derivative_bound() + u + 2 * library_gelu_error(device, std::max(1.0, zs[i]))));
    }
    EXPECT_TRUE(within(dz, expected, rounded_once(bounds, expected, dtype)));
  });
}

TEST(LinearWeight, GradientsMatchTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    const Tensor x = random_tensor({s.rows, s.in}, 1, dtype, device),
                 dy = random_tensor({s.rows, s.out}, 2, dtype, device);
    const std::vector<double> dys = to_doubles(dy);
    const auto out = static_cast<std::size_t>(s.out);
    std::vector<double> sums(out), magnitudes(out);
    for (std::size_t i = 0; i < dys.size(); ++i) sums[i % out] += dys[i], magnitudes[i % out] += std::abs(dys[i]);
    for (const bool transpose : {false, true})
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        const Shape shape = transpose ? Shape{s.out, s.in} : Shape{s.in, s.out};
        const bool add = write == Write::accumulate;
        const Tensor dweight = add ? random_tensor(shape, 3, DType::f32, device) : nans(shape, DType::f32, device),
                     dbias = add ? random_tensor({s.out}, 4, DType::f32, device) : nans({s.out}, DType::f32, device);
        const std::vector<double> old_weight = to_doubles(dweight), old_bias = to_doubles(dbias);
        linear_weight_backward(
            {.dweight = {dweight, write}, .dbias = {dbias, write}, .dy = dy, .x = x, .transpose = transpose});

        MatmulReference r = transpose ? reference_of({s.out, s.in, s.rows, true, false}, dys, to_doubles(x))
                                      : reference_of({s.in, s.out, s.rows, true, false}, to_doubles(x), dys);
        std::vector<double> bounds, expected_bias = sums, bias_bounds;
        for (std::size_t i = 0; i < r.product.size(); ++i) {
          if (add) r.product[i] += old_weight[i];
          bounds.push_back(sum_bound(s.rows + 1, r.magnitude[i] + (add ? std::abs(old_weight[i]) : 0)));
        }
        for (std::size_t i = 0; i < out; ++i) {
          if (add) expected_bias[i] += old_bias[i];
          bias_bounds.push_back(sum_bound(s.rows + 1, magnitudes[i] + (add ? std::abs(old_bias[i]) : 0)));
        }
        EXPECT_TRUE(within(dweight, r.product, bounds)) << "weight, transposed " << transpose;
        EXPECT_TRUE(within(dbias, expected_bias, bias_bounds)) << "bias, transposed " << transpose;
      }
  });
}

// Each by its own mode: one gradient may be this window's first contribution and the other not.
TEST(LinearWeight, GradientsAccumulateEachByItsOwnMode) {
  for (const Device device : devices())
    with_each_epilogue_setting(device, [device] {
      const Tensor x = random_tensor({9, 16}, 1, DType::f32, device), dy = random_tensor({9, 8}, 2, DType::f32, device);
      const Tensor fresh_weight = nans({16, 8}, DType::f32, device), fresh_bias = nans({8}, DType::f32, device);
      linear_weight_backward({.dweight = {fresh_weight}, .dbias = {fresh_bias}, .dy = dy, .x = x});
      const Tensor weight = Tensor::zeros({16, 8}, DType::f32, device), bias = Tensor::zeros({8}, DType::f32, device);
      linear_weight_backward({.dweight = {weight, Write::accumulate},
                              .dbias = {nans({8}, DType::f32, device), Write::overwrite},
                              .dy = dy,
                              .x = x});
      linear_weight_backward({.dweight = {nans({16, 8}, DType::f32, device), Write::overwrite},
                              .dbias = {bias, Write::accumulate},
                              .dy = dy,
                              .x = x});
      EXPECT_TRUE(within(weight, to_doubles(fresh_weight), Bound{.absolute = 64 * u}));
      EXPECT_EQ(bias.to_vector<float>(), fresh_bias.to_vector<float>());
    });
}

TEST(LinearWeight, MayHaveNoBias) {
  for (const Device device : devices())
    with_each_epilogue_setting(device, [device] {
      const Tensor x = random_tensor({9, 16}, 1, DType::f32, device), dy = random_tensor({9, 8}, 2, DType::f32, device);
      const Tensor with = nans({16, 8}, DType::f32, device), without = nans({16, 8}, DType::f32, device);
      linear_weight_backward({.dweight = {with}, .dbias = {nans({8}, DType::f32, device)}, .dy = dy, .x = x});
      linear_weight_backward({.dweight = {without}, .dy = dy, .x = x});
      EXPECT_TRUE(within(without, to_doubles(with), Bound{.absolute = 64 * u}));
    });
}

// A micro-batch without rows adds nothing, and as the first one of a window gives zero.
TEST(LinearWeight, NoRowsGiveZeroOrLeaveTheOldValue) {
  for (const Device device : devices())
    with_each_epilogue_setting(device, [device] {
      const Tensor x = Tensor::zeros({0, 16}, DType::f32, device), dy = Tensor::zeros({0, 8}, DType::f32, device);
      const Tensor weight = nans({16, 8}, DType::f32, device), bias = nans({8}, DType::f32, device);
      linear_weight_backward({.dweight = {weight}, .dbias = {bias}, .dy = dy, .x = x});
      EXPECT_TRUE(within(weight, std::vector<double>(128), Bound{}));
      EXPECT_TRUE(within(bias, std::vector<double>(8), Bound{}));
      const Tensor kept = random_tensor({16, 8}, 1, DType::f32, device);
      const std::vector<double> before = to_doubles(kept);
      linear_weight_backward(
          {.dweight = {kept, Write::accumulate}, .dbias = {bias, Write::accumulate}, .dy = dy, .x = x});
      EXPECT_TRUE(within(kept, before, Bound{}));
    });
}

TEST(LinearGelu, NanAndInfinityReachTheResult) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    const Tensor weight = random_tensor({s.in, s.out}, 2, dtype, device),
                 x = tensor_of(std::vector<float>(static_cast<std::size_t>(s.rows * s.in), std::nanf("")),
                               {s.rows, s.in}, dtype, device);
    const Tensor z = Tensor::zeros({s.rows, s.out}, dtype, device), y = Tensor::zeros({s.rows, s.out}, dtype, device);
    linear_gelu({.y = y, .z = z, .x = x, .weight = weight});
    for (const Tensor& result : {y, z})
      for (const double value : to_doubles(result)) ASSERT_TRUE(std::isnan(value));
  });
}

TEST(LinearGelu, NamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), weight = Tensor::zeros({3, 4}), bias = Tensor::zeros({4}),
               z = Tensor::zeros({2, 4}), y = Tensor::zeros({2, 4});
  const auto message = [](const LinearGelu& op) { return error_message([&] { linear_gelu(op); }); };
  EXPECT_EQ(message({.z = z, .x = x, .weight = weight}), "linear_gelu: y must be given");
  EXPECT_EQ(message({.y = y, .x = x, .weight = weight}), "linear_gelu: z must be given");
  EXPECT_EQ(message({.y = y, .z = z, .x = x, .weight = bias}),
            "linear_gelu: weight must have two axes, but has shape [4]");
  EXPECT_EQ(message({.y = y, .z = z, .x = z, .weight = weight}),
            "linear_gelu: the last axis of x must be 3 to match weight, but it has shape [2, 4]");
  EXPECT_EQ(message({.y = x, .z = z, .x = x, .weight = weight}),
            "linear_gelu: y must have shape [2, 4] to match x and weight, but has [2, 3]");
  EXPECT_EQ(message({.y = y, .z = z, .x = x, .weight = weight, .bias = Tensor::zeros({3})}),
            "linear_gelu: bias must have shape [4] to match weight, but has [3]");
  EXPECT_EQ(message({.y = y, .z = Tensor::zeros({2, 4}, DType::f16), .x = x, .weight = weight}),
            "linear_gelu: z must be f32, but is f16");
  EXPECT_EQ(message({.y = z, .z = z, .x = x, .weight = weight}),
            "linear_gelu: y must not share memory with z, but does");
}

TEST(LinearGelu, BackwardNamesTheOperandThatDoesNotFit) {
  const Tensor dy = Tensor::zeros({2, 4}), weight = Tensor::zeros({3, 4}), z = Tensor::zeros({2, 3}),
               dz = Tensor::zeros({2, 3});
  const auto message = [](const LinearGeluBackward& op) { return error_message([&] { linear_gelu_backward(op); }); };
  EXPECT_EQ(message({.dy = dy, .weight = weight, .z = z}), "linear_gelu_backward: dz must be given");
  EXPECT_EQ(message({.dz = dz, .dy = z, .weight = weight, .z = z}),
            "linear_gelu_backward: the last axis of dy must be 4 to match weight, but it has shape [2, 3]");
  EXPECT_EQ(message({.dz = dz, .dy = dy, .weight = weight, .z = dy}),
            "linear_gelu_backward: z must have shape [2, 3] to match dy and weight, but has [2, 4]");
  EXPECT_EQ(message({.dz = z, .dy = dy, .weight = weight, .z = z}),
            "linear_gelu_backward: dz must not share memory with z, but does");
}

TEST(LinearWeight, NamesTheOperandThatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 3}), dy = Tensor::zeros({2, 4}), dweight = Tensor::zeros({3, 4}),
               dbias = Tensor::zeros({4});
  const auto message = [](const LinearWeightBackward& op) {
    return error_message([&] { linear_weight_backward(op); });
  };
  EXPECT_EQ(message({.dy = dy, .x = x}), "linear_weight_backward: dweight must be given");
  EXPECT_EQ(message({.dweight = {dweight}, .dy = dy, .x = x, .transpose = true}),
            "linear_weight_backward: dweight must have shape [4, 3] to match x and dy, but has [3, 4]");
  EXPECT_EQ(message({.dweight = {dweight}, .dbias = {Tensor::zeros({3})}, .dy = dy, .x = x}),
            "linear_weight_backward: dbias must have shape [4] to match dy, but has [3]");
  EXPECT_EQ(message({.dweight = {dweight}, .dy = dy, .x = Tensor::zeros({5, 3})}),
            "linear_weight_backward: x must have shape [2, 3] with the rows of dy, but has [5, 3]");
  EXPECT_EQ(message({.dweight = {dweight}, .dy = dy, .x = Tensor::zeros({2, 3}, DType::bf16)}),
            "linear_weight_backward: x must be f32, but is bf16");
  EXPECT_EQ(message({.dweight = {Tensor::zeros({3, 4}, DType::bf16)}, .dy = dy, .x = x}),
            "linear_weight_backward: dweight must be f32, but is bf16");
  EXPECT_EQ(message({.dweight = {dweight}, .dy = Tensor::zeros({}), .x = x}),
            "linear_weight_backward: dy must have at least one axis, but is a scalar");
}

}  // namespace
}  // namespace accrue::kernels
