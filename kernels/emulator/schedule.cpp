#include "kernels/emulator/schedule.h"

#include <numeric>

namespace accrue::emulator {

void Schedule::begin_launch(std::uint64_t blocks, unsigned warps, std::uint64_t launch) {
  order_ = options().order;
  blocks_ = blocks;
  warps_ = warps;
  std::iota(precedence_.begin(), precedence_.end(), std::uint8_t{0});
  first_block_ = 0;
  stride_ = 1;
  if (order_ != Order::random) return;
  // splitmix64 of seed and launch; `| 1` because xorshift's state must not be 0.
  std::uint64_t mixed = options().seed + (launch + 1) * 0x9E3779B97F4A7C15u;
  mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
  mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
  state_ = (mixed ^ mixed >> 31) | 1;
  // A stride without a common divisor with the number of blocks visits each of them once.
  first_block_ = random() % blocks;
  stride_ = random() % blocks + 1;
  while (std::gcd(stride_, blocks) != 1) stride_ = stride_ % blocks + 1;
}

}  // namespace accrue::emulator
