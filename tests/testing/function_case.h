// Functions of nn/functional.h, and what they are in double precision.
#pragma once

#include <functional>
#include <vector>

#include "core/parameter.h"
#include "core/tape.h"

namespace accrue::testing {

// Parameters of the given shapes, normal with deviation 1/2.
struct RandomParameters {
  explicit RandomParameters(const std::vector<Shape>& shapes, Device device = Device::cpu()) {
    for (std::size_t i = 0; i < shapes.size(); ++i)
      all.push_back(store.add(fmt::format("p{}", i), shapes[i], Initializer::normal(0.5f)));
    store.allocate(device, 17);
  }
  ParameterStore store;
  std::vector<Parameter> all;
};

// A function under test: y of x and the parameters, on the tape and in double precision.
struct FunctionCase {
  Shape x_shape;
  std::vector<Shape> parameter_shapes;
  std::function<Tensor(Tape&, const Tensor&, const std::vector<Parameter>&)> function;
  std::function<std::vector<double>(const std::vector<double>&, const std::vector<std::vector<double>>&)> reference;
  int terms = 1;  // the most terms that one element of y or of a gradient sums
};

// The gradients of L = sum(seed * y) with respect to x and every parameter. Bound: each gradient element is a sum of at
// most `terms` products of operands of magnitude at most about 4 (normal numbers of deviation <= 1), each operand
// itself the result of a few roundings: 16 * (terms + 16) * u absolute. The finite differences err by about 1e-9.
void expect_gradients(const FunctionCase& c);

// x [rows, in] · w [in, out] or, out_in, w [out, in] transposed.
std::vector<double> product(const std::vector<double>& x, const std::vector<double>& w, std::size_t in, std::size_t out,
                            bool out_in);

}  // namespace accrue::testing
