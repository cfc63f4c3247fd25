// Where a backward kernel puts a gradient, and whether it stores or adds.
#pragma once

#include "core/tensor.h"

namespace accrue {

// overwrite: the destination holds nothing of value (first touch). accumulate: add to what is there.
enum class Write { overwrite, accumulate };

// An undefined tensor means that nobody wants this gradient; kernels then skip it.
struct GradSlot {
  Tensor tensor;
  Write write = Write::overwrite;

  explicit operator bool() const { return tensor.defined(); }
};

}  // namespace accrue
