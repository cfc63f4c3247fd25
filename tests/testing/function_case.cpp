#include "tests/testing/function_case.h"

#include <gtest/gtest.h>

#include "nn/gradients.h"
#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"

namespace accrue::testing {

void expect_gradients(const FunctionCase& c) {
  for (const Device device : devices()) {
    RandomParameters parameters(c.parameter_shapes, device);
    const Tensor x = random_tensor(c.x_shape, 3, DType::f32, device);
    Tape tape;
    std::vector<double> dx;
    tape.record("input", x, [&dx, node = Node(x)](Tape& t) { dx = to_doubles(t.grad(node)); });
    const Tensor y = c.function(tape, x, parameters.all);
    const std::vector<double> values = to_doubles(y);
    const Tensor seed = random_tensor(y.shape(), 4, DType::f32, device);
    const std::vector<double> seeds = to_doubles(seed);
    tape.contribute(y, seed, nn::add_gradient);
    tape.backward();

    std::vector<std::vector<double>> operands = {to_doubles(x)};
    for (const Parameter& p : parameters.all) operands.push_back(to_doubles(p.value()));
    const auto reference = [&](const std::vector<std::vector<double>>& o) {
      return c.reference(o[0], std::vector<std::vector<double>>(o.begin() + 1, o.end()));
    };
    const Bound bound{.absolute = 16 * (c.terms + 16) * unit_roundoff(DType::f32)};
    EXPECT_TRUE(within(values, reference(operands), bound)) << "forward";
    for (std::size_t which = 0; which < operands.size(); ++which) {
      const std::vector<double> expected = numeric_gradient(
          [&](const std::vector<double>& changed) {
            std::vector<std::vector<double>> o = operands;
            o[which] = changed;
            const std::vector<double> result = reference(o);
            double loss = 0;
            for (std::size_t i = 0; i < result.size(); ++i) loss += seeds[i] * result[i];
            return loss;
          },
          operands[which]);
      const std::vector<double> actual = which == 0 ? dx : to_doubles(parameters.all[which - 1].grad());
      EXPECT_TRUE(within(actual, expected, bound))
          << (which == 0 ? std::string("x") : fmt::format("parameter {}", which - 1));
    }
  }
}

std::vector<double> product(const std::vector<double>& x, const std::vector<double>& w, std::size_t in, std::size_t out,
                            bool out_in) {
  std::vector<double> y(x.size() / in * out);
  for (std::size_t row = 0; row < x.size() / in; ++row)
    for (std::size_t i = 0; i < in; ++i)
      for (std::size_t o = 0; o < out; ++o)
        y[row * out + o] += x[row * in + i] * (out_in ? w[o * in + i] : w[i * out + o]);
  return y;
}

}  // namespace accrue::testing
