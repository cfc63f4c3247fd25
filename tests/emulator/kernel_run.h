// Runs a kernel of a test under every order of the threads.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <vector>

#include "kernels/emulator/emulator.h"
#include "tests/emulator/device_array.h"

namespace accrue::emulator {

// Puts the options back that a test has changed.
class OptionsGuard {
 public:
  OptionsGuard() : saved_(options()) {}
  ~OptionsGuard() { options() = saved_; }
  OptionsGuard(const OptionsGuard&) = delete;
  OptionsGuard& operator=(const OptionsGuard&) = delete;

 private:
  Options saved_;
};

template <class Function>
void in_every_order(Function function) {
  const OptionsGuard guard;
  for (const Order order : {Order::forward, Order::reverse}) {
    options().order = order;
    function();
  }
  options().order = Order::random;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    options().seed = seed;
    function();
  }
}

struct Size {
  dim3 grid = dim3(1), block = dim3(32);
  std::size_t dynamic_shared_bytes = 0;
};

// What the kernel writes into an array of this length that is full of `initial`.
template <class T, class... P, class... A>
std::vector<T> output_of(void (*kernel)(T*, P...), const Size& size, std::size_t length, T initial, A... arguments) {
  const DeviceArray<T> out(std::vector<T>(length, initial));
  EXPECT_EQ(launch("test", kernel, size.grid, size.block, size.dynamic_shared_bytes, nullptr, out.data(), arguments...),
            cudaSuccess);
  return out.to_host();
}

}  // namespace accrue::emulator
