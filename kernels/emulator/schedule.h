// The order in which the blocks of a grid, and the threads of a block that could go on, take their turns.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include "kernels/emulator/options.h"

namespace accrue::emulator {

class Schedule {
 public:
  // For one launch of `blocks` blocks of `warps` warps. In the random order, `launch` makes launches differ.
  void begin_launch(std::uint64_t blocks, unsigned warps, std::uint64_t launch);

  // The block that runs as number `turn`.
  std::uint64_t block(std::uint64_t turn) const {
    if (order_ == Order::reverse) return blocks_ - 1 - turn;
    return static_cast<std::uint64_t>((static_cast<Wide>(turn) * stride_ + first_block_) % blocks_);
  }

  // At the start of a block and at every barrier the random order gives the warps new precedence; in between a warp
  // keeps its own, and so gets far ahead.
  void renew_precedence() {
    if (order_ == Order::random) shuffle_warps();
  }

  // One of the set bits.
  unsigned warp(unsigned warps) {
    if (order_ == Order::forward) return lowest(warps);
    if (order_ == Order::reverse) return highest(warps);
    if (random() % 256 == 0) shuffle_warps();
    unsigned place = 0;
    while ((warps >> precedence_[place] & 1) == 0) ++place;
    return precedence_[place];
  }
  unsigned lane(unsigned lanes) {
    if (order_ == Order::forward) return lowest(lanes);
    if (order_ == Order::reverse) return highest(lanes);
    const unsigned first = static_cast<unsigned>(random() >> 32) % 32;
    return (first + lowest(std::rotr(lanes, static_cast<int>(first)))) % 32;
  }

  // Whether a lane that completes a collective lets others go first.
  bool step_back() { return order_ == Order::random && (random() >> 32 & 1) != 0; }

 private:
  __extension__ using Wide = unsigned __int128;

  static unsigned lowest(unsigned bits) { return static_cast<unsigned>(std::countr_zero(bits)); }
  static unsigned highest(unsigned bits) { return 31u - static_cast<unsigned>(std::countl_zero(bits)); }

  std::uint64_t random() {  // xorshift64: its state is never 0
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  void shuffle_warps() {
    for (unsigned i = warps_; i > 1; --i) std::swap(precedence_[i - 1], precedence_[(random() >> 16) % i]);
  }

  Order order_ = Order::forward;
  unsigned warps_ = 0;
  std::array<std::uint8_t, 32> precedence_{};
  std::uint64_t state_ = 1, blocks_ = 1, first_block_ = 0, stride_ = 1;
};

}  // namespace accrue::emulator
