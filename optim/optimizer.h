// What every optimizer offers the training loop.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"

namespace accrue::optim {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Throws Error(usage) "<name>: <quantity> must be …, but is <value>" unless the value is finite and in the range.
void require_fraction(std::string_view name, std::string_view quantity, double value);      // [0, 1)
void require_positive(std::string_view name, std::string_view quantity, double value);      // > 0
void require_not_negative(std::string_view name, std::string_view quantity, double value);  // >= 0

// Updates the flat buffers of a ParameterStore, group by group; knows no layer and no schedule. The store must be
// allocated and outlive the optimizer.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Launches the update from the store's flat gradients (settled, see ParameterStore::settle_gradients) and a StepState
  // on their device, prepared by kernels::begin_step. Waits for nothing; where state.apply is 0, every bit stays.
  virtual void step(const Tensor& state) = 0;
  // The flat buffers of its own, in the store's layout, for checkpoints: restoring their content restores the
  // optimizer.
  virtual std::vector<NamedTensor> state_tensors() const = 0;
  virtual std::string name() const = 0;
};

// A run of a flat buffer; undefined stays undefined.
Tensor slice(const Tensor& flat, const ParameterGroup& group);
// The compute copy that the update writes: undefined where the master values are what forward reads.
Tensor compute_copy(const ParameterStore& store);

}  // namespace accrue::optim
