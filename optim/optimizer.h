// What the accumulator asks of an optimizer.
#pragma once

#include <string>
#include <vector>

#include "core/parameter.h"
#include "core/tensor.h"

namespace accrue::optim {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Updates a ParameterStore's flat buffers, group by group; knows no layer. The step's scalars (learning rate, gradient factor,
// whether to update at all, the number of updates so far) are read on the device from a kernels::StepState.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One update from parameters.gradients(); leaves every bit as it is where state.apply is 0.
  virtual void step(const Tensor& state) = 0;
  // The flat state buffers, in the parameters' layout, for checkpoints.
  virtual std::vector<NamedTensor> state_tensors() = 0;
  virtual std::string name() const = 0;
};

}  // namespace accrue::optim
