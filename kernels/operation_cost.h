// What a call of an operation computes and moves, as the comment of its argument struct counts it: each has its
// cost_of() beside it.
#pragma once

#include "core/grad_slot.h"

namespace accrue::kernels {

struct OperationCost {
  double flop = 0;
  double bytes = 0;  // read and written
};

inline double count_of(const Tensor& tensor) { return static_cast<double>(tensor.numel()); }

// Of tensors that are read or written once; undefined ones have none.
template <class... Tensors>
double bytes_of(const Tensors&... tensors) {
  return (0.0 + ... + (tensors.defined() ? static_cast<double>(tensors.bytes()) : 0.0));
}

// Of a gradient that is written, and read before where it accumulates.
inline double bytes_of(const GradSlot& slot) {
  return bytes_of(slot.tensor) * (slot.write == Write::accumulate ? 2 : 1);
}

}  // namespace accrue::kernels
