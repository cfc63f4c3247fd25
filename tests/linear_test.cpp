#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/testing/compare.h"
#include "tests/testing/reference_gelu.h"
#include "tests/testing/reference_matmul.h"
#include "tests/testing/sweep.h"
#include "tests/testing/with_epilogues.h"

namespace accrue::kernels::linear_test {
namespace {

using namespace accrue::testing;

constexpr double u = unit_roundoff(DType::f32);

struct Sizes {
  std::int64_t rows, in, out;
  std::int64_t offset = 0;  // elements from the beginning of their memory to the operands
};

// Around a vector, with widths that a fused GELU takes (multiples of 8) and that it does not; and parameters lie one
// behind the other, at multiples of their element.
const std::vector<Sizes> sweep = {{1, 1, 1},     {7, 33, 8},      {33, 40, 32},    {31, 8, 33},
                                  {130, 65, 96}, {16, 32, 64, 1}, {16, 32, 64, 2}, {16, 32, 64, 4}};

Tensor shifted(const std::vector<float>& values, const Shape& shape, DType dtype, Device device, std::int64_t offset) {
  std::vector<float> memory(static_cast<std::size_t>(offset));
  memory.insert(memory.end(), values.begin(), values.end());
  return tensor_of(memory, {static_cast<std::int64_t>(memory.size())}, dtype, device).view(shape, offset);
}
Tensor operand(const Shape& shape, std::uint64_t seed, DType dtype, Device device, const Sizes& s,
               float deviation = 1) {
  return shifted(random_floats(shape.numel(), seed, 0, deviation), shape, dtype, device, s.offset);
}
Tensor nans(const Shape& shape, DType dtype, Device device, const Sizes& s) {
  return shifted(std::vector<float>(static_cast<std::size_t>(shape.numel()), std::nanf("")), shape, dtype, device,
                 s.offset);
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

// Of a sum of `terms` products in f32, in any order, that is rounded once more: Higham, Accuracy and Stability of
// Numerical Algorithms, section 3.1. (Tensor cores cut off where they should round: hence twice.)
double sum_bound(std::int64_t terms, double magnitude) {
  const double tu = 2 * static_cast<double>(terms + 1) * u;
  return tu / (1 - tu) * magnitude;
}

// |gelu'| is below 1.13.
constexpr double steepest = 1.13;

TEST(LinearGelu, MatchesTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    for (const bool biased : {true, false}) {
      const Tensor x = operand({s.rows, s.in}, 1, dtype, device, s),
                   weight = operand({s.in, s.out}, 2, dtype, device, s, 0.3f),
                   bias = biased ? operand({s.out}, 3, dtype, device, s) : Tensor();
      const Tensor z = nans({s.rows, s.out}, dtype, device, s), y = nans({s.rows, s.out}, dtype, device, s);
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
        bounds_y.push_back(steepest * of_z + gelu.value_bound() + library_gelu_error(r.product[i]));
      }
      EXPECT_TRUE(within(z, r.product, rounded_once(bounds_z, r.product, dtype)));
      EXPECT_TRUE(within(y, expected_y, rounded_once(bounds_y, expected_y, dtype)));
    }
  });
}

TEST(LinearGelu, BackwardMatchesTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    // z and dz are as wide as the hidden layer, which is the layer's input here.
    const Tensor dy = operand({s.rows, s.in}, 1, dtype, device, s),
                 weight = operand({s.out, s.in}, 2, dtype, device, s, 0.3f),
                 z = operand({s.rows, s.out}, 3, dtype, device, s, 2), dz = nans({s.rows, s.out}, dtype, device, s);
    linear_gelu_backward({.dz = dz, .dy = dy, .weight = weight, .z = z});

    const MatmulReference r = reference_of({s.rows, s.out, s.in, false, true}, to_doubles(dy), to_doubles(weight));
    const std::vector<double> zs = to_doubles(z);
    std::vector<double> expected, bounds;
    for (std::size_t i = 0; i < zs.size(); ++i) {
      const Gelu gelu(zs[i]);
      expected.push_back(r.product[i] * gelu.derivative);
      double of_product = sum_bound(s.in, r.magnitude[i]);
      of_product += rounding_error(dtype, std::abs(r.product[i]) + of_product);
      const double of_derivative = gelu.derivative_bound() + u + library_gelu_derivative_error(zs[i]);
      bounds.push_back(steepest * of_product + (std::abs(r.product[i]) + of_product) * of_derivative);
    }
    EXPECT_TRUE(within(dz, expected, rounded_once(bounds, expected, dtype)));
  });
}

// The sum over the rows of dy, and of their magnitudes.
struct ColumnSums {
  std::vector<double> sums, magnitudes;
  ColumnSums(const std::vector<double>& dy, std::size_t columns) : sums(columns), magnitudes(columns) {
    for (std::size_t i = 0; i < dy.size(); ++i) sums[i % columns] += dy[i], magnitudes[i % columns] += std::abs(dy[i]);
  }
};

// What a gradient with this sum and magnitude is to be, beginning with `old`.
void expect_gradient(const Tensor& actual, std::vector<double> sum, const std::vector<double>& magnitude, Write write,
                     const std::vector<double>& old, std::int64_t terms) {
  std::vector<double> bounds;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const double before = write == Write::accumulate ? old[i] : 0;
    sum[i] += before;
    bounds.push_back(sum_bound(terms + 1, magnitude[i] + std::abs(before)));
  }
  EXPECT_TRUE(within(actual, sum, bounds));
}

// Weight and bias each by its own mode: one may have this window's first contribution, and the other not.
TEST(LinearWeight, GradientsMatchTheDefinition) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    const Tensor x = operand({s.rows, s.in}, 1, dtype, device, s), dy = operand({s.rows, s.out}, 2, dtype, device, s);
    const std::vector<double> xs = to_doubles(x), dys = to_doubles(dy);
    const ColumnSums of_dy(dys, static_cast<std::size_t>(s.out));
    constexpr Write writes[] = {Write::overwrite, Write::accumulate};
    for (const bool transpose : {false, true}) {
      const Shape shape = transpose ? Shape{s.out, s.in} : Shape{s.in, s.out};
      const MatmulReference r = transpose ? reference_of({s.out, s.in, s.rows, true, false}, dys, xs)
                                          : reference_of({s.in, s.out, s.rows, true, false}, xs, dys);
      for (const Write weight_write : writes)
        for (const Write bias_write : writes)
          for (const bool biased : {true, false}) {
            SCOPED_TRACE(fmt::format("transposed {}, weight accumulates {}, bias {} accumulates {}", transpose,
                                     weight_write == Write::accumulate, biased, bias_write == Write::accumulate));
            const auto slot = [&](const Shape& extents, Write write) {
              return GradSlot{write == Write::accumulate ? operand(extents, 3, DType::f32, device, s)
                                                         : nans(extents, DType::f32, device, s),
                              write};
            };
            const GradSlot dweight = slot(shape, weight_write), dbias = slot({s.out}, bias_write);
            const std::vector<double> old_weight = to_doubles(dweight.tensor), old_bias = to_doubles(dbias.tensor);
            linear_weight_backward(
                {.dweight = dweight, .dbias = biased ? dbias : GradSlot(), .dy = dy, .x = x, .transpose = transpose});
            expect_gradient(dweight.tensor, r.product, r.magnitude, weight_write, old_weight, s.rows);
            if (biased) {
              expect_gradient(dbias.tensor, of_dy.sums, of_dy.magnitudes, bias_write, old_bias, s.rows);
            } else {
              EXPECT_TRUE(within(dbias.tensor, old_bias, Bound{})) << "not its business";
            }
          }
    }
  });
}

// A micro-batch without rows adds nothing, and as the first one of a window gives zero.
TEST(LinearWeight, NoRowsGiveZeroOrLeaveTheOldValue) {
  for (const Device device : devices())
    with_each_epilogue_setting(device, [device] {
      const Tensor x = Tensor::zeros({0, 16}, DType::f32, device), dy = Tensor::zeros({0, 8}, DType::f32, device);
      const Tensor weight = nans({16, 8}, DType::f32, device, {}), bias = nans({8}, DType::f32, device, {});
      linear_weight_backward({.dweight = {weight}, .dbias = {bias}, .dy = dy, .x = x});
      EXPECT_TRUE(within(weight, std::vector<double>(128), Bound{}));
      EXPECT_TRUE(within(bias, std::vector<double>(8), Bound{}));
      const Tensor kept_weight = random_tensor({16, 8}, 1, DType::f32, device),
                   kept_bias = random_tensor({8}, 2, DType::f32, device);
      const std::vector<double> weights = to_doubles(kept_weight), biases = to_doubles(kept_bias);
      linear_weight_backward(
          {.dweight = {kept_weight, Write::accumulate}, .dbias = {kept_bias, Write::accumulate}, .dy = dy, .x = x});
      EXPECT_TRUE(within(kept_weight, weights, Bound{}));
      EXPECT_TRUE(within(kept_bias, biases, Bound{}));
    });
}

void expect_no_number(const Tensor& tensor, const char* name) {
  for (const double value : to_doubles(tensor)) ASSERT_FALSE(std::isfinite(value)) << name;
}

TEST(LinearGelu, NanAndInfinityReachEveryResult) {
  for_each_case([](Device device, DType dtype, const Sizes& s) {
    for (const float bad : {std::nanf(""), HUGE_VALF}) {
      const auto filled = [&](const Shape& shape, float value) {
        return tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), value), shape, dtype, device);
      };
      const Tensor x = filled({s.rows, s.in}, bad), dy = filled({s.rows, s.out}, bad);
      const Tensor z = Tensor::zeros({s.rows, s.out}, dtype, device), y = Tensor::zeros({s.rows, s.out}, dtype, device),
                   dz = Tensor::zeros({s.rows, s.in}, dtype, device);
      linear_gelu({.y = y, .z = z, .x = x, .weight = filled({s.in, s.out}, 1)});
      linear_gelu_backward({.dz = dz, .dy = dy, .weight = filled({s.in, s.out}, 1), .z = filled({s.rows, s.in}, 1)});
      const Tensor dweight = Tensor::zeros({s.in, s.out}, DType::f32, device),
                   dbias = Tensor::zeros({s.out}, DType::f32, device);
      linear_weight_backward({.dweight = {dweight}, .dbias = {dbias}, .dy = dy, .x = filled({s.rows, s.in}, 1)});
      expect_no_number(z, "z");
      expect_no_number(y, "y");
      expect_no_number(dz, "dz");
      expect_no_number(dweight, "dweight");
      expect_no_number(dbias, "dbias");
    }
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
}  // namespace accrue::kernels::linear_test
