// Inverted dropout with counter-based masks (Srivastava et al., JMLR 15, 2014).
#pragma once

#include <cstdint>

#include "core/grad_slot.h"
#include "core/rng.h"
#include "kernels/operation_cost.h"

namespace accrue::kernels {

// out (+)= x * mask / (1 - p), where axis 0 of x is the sample and element e of sample s is kept when
// uniform(word e % 4 of sample_random(key, site, s, e / 4)) >= p (contract 21). A dropped element is 0 (or adds 0)
// whatever x holds there, NaN included. The mask is not stored: forward and backward are this same function (x = dy in
// the backward). out may be x when overwriting. 0 <= p < 1; a sample has at most 2^34 elements. about 25 integer
// operations/element, no FLOP | bytes: 2*n*sizeof(T) (3 when accumulating) | deterministic
struct Dropout {
  GradSlot out;
  Tensor x;
  float p = 0;
  RandomKey key;
  std::uint32_t site = 0;
};

void dropout(const Dropout&);

OperationCost cost_of(const Dropout&);

namespace cpu {
void dropout(const Dropout&);
}
namespace cuda {
void dropout(const Dropout&);
}

}  // namespace accrue::kernels
