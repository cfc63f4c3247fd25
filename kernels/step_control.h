// The boundary's bookkeeping on the device: three tiny kernels around the gradient check and the optimizer. Each reads
// and writes the state record (and the loss terms) alone: tens of FLOP, hundreds of bytes | latency-bound |
// deterministic
#pragma once

#include <cstdint>

#include "kernels/loss_scaling.h"
#include "kernels/loss_terms.h"
#include "kernels/operation_cost.h"
#include "kernels/schedule_value.h"
#include "kernels/step_state.h"

namespace accrue::kernels {

// state.loss_sum += terms.sum; state.target_count += terms.count.
struct AddLossTerms {
  Tensor state;
  Tensor terms;
};

// Everything the optimizer needs to know. The summed gradient is divided by the window's targets W (contract 1); with
// contract 2's mean_over_micro_batches, where each micro-batch's gradient was already divided by its own n_m, by their
// number.
struct BeginStep {
  Tensor state;
  ScheduleParameters schedule;
  double divisor_override = 0;  // > 0: divide by this instead of W (an empty window stays empty)
  double max_norm = 0;          // clip to this norm; 0: no clipping
};

// What becomes of a window whose gradient is not finite.
enum class OnOverflow {
  skip,    // it is over, without an update
  replay,  // it comes again at the smaller loss scale; skipped where the scale cannot fall
};

// After the optimizer: the counters move on (update when applied, else empty, or skipped, or replayed), the loss scale
// is that of the next window (an empty window leaves it alone), the window's sums go back to zero. After an overflow
// the state is held, and in a held state only the sums change.
struct FinishStep {
  Tensor state;
  LossScaling scaling;
  OnOverflow on_overflow = OnOverflow::skip;
};

void add_loss_terms(const AddLossTerms&);
// G = buffer / (sigma * divisor). grad_norm = ||G||; c = min(1, max_norm / (grad_norm + 1e-6)) (contract 17);
// factor = c / (sigma * divisor); learning_rate = schedule at `update`; apply = W > 0, no found_inf and not held. When
// W = 0, grad_norm and factor are 0; a gradient that is not finite is shown in grad_norm as it is, and factor is 0.
void begin_step(const BeginStep&);
void finish_step(const FinishStep&);

OperationCost cost_of(const AddLossTerms&);
OperationCost cost_of(const BeginStep&);
OperationCost cost_of(const FinishStep&);

namespace cpu {
void add_loss_terms(const AddLossTerms&);
void begin_step(const BeginStep&);
void finish_step(const FinishStep&);
}  // namespace cpu
namespace cuda {
void add_loss_terms(const AddLossTerms&);
void begin_step(const BeginStep&);
void finish_step(const FinishStep&);
}  // namespace cuda

}  // namespace accrue::kernels
