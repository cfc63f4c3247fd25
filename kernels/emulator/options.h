// How the emulated device behaves: from the environment at first use, and changeable by tests between launches.
#pragma once

#include <cstddef>
#include <cstdint>

namespace accrue::emulator {

// Which of the threads that could go on does. Each order is greedy: a warp runs as far ahead of the others as barriers
// let it, because that is what shows a missing barrier; taking turns hides it.
enum class Order { forward, reverse, random };

// When the work of a stream runs: at once, or only when something waits for it, which shows a missing wait.
enum class Streams { eager, lazy };

struct Options {
  Order order = Order::forward;               // ACCRUE_EMULATOR_ORDER=forward|reverse|random
  std::uint64_t seed = 1;                     // ACCRUE_EMULATOR_SEED, of the random order
  Streams streams = Streams::eager;           // ACCRUE_EMULATOR_STREAMS=eager|lazy
  std::size_t memory = std::size_t{1} << 30;  // ACCRUE_EMULATOR_MEMORY, bytes or with K, M or G: the device's memory
};

// A value in the environment that is none of these ends the process with exit code 2.
Options& options();

}  // namespace accrue::emulator
