// Where the gradient of a window that overflowed first went non-finite (contract 20).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "train/accumulator.h"

namespace accrue::train {

// One micro-batch of the window, to be run again.
struct RepeatedMicroBatch {
  std::int64_t samples = 0;
  std::function<nn::Loss(Tape&)> loss;
};

// Runs the micro-batches of a skipped or replayed window again, with the weights, random numbers and loss scale that
// they had, and looks at each gradient that an operation's backward has contributed to, until one is not finite: slow,
// as the host waits for each, but only where a window overflows. nullopt where nothing overflows this time: a device
// that does not compute the same bits twice. Between windows only; leaves the gradients clear.
std::optional<Overflow> find_overflow(const Accumulator& accumulator, const WindowReport& report,
                                      const std::function<RepeatedMicroBatch(std::int64_t)>& micro_batch);

}  // namespace accrue::train
