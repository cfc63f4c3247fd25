// threadIdx and its relatives.
#pragma once

#include "kernels/emulator/emulator.h"

// `used`, so that a debugger finds them although the compiler needs only what they refer to.
[[gnu::used]] inline constexpr const uint3& threadIdx = accrue::emulator::detail::running.thread_index;
[[gnu::used]] inline constexpr const uint3& blockIdx = accrue::emulator::detail::running.block_index;
[[gnu::used]] inline constexpr const dim3& blockDim = accrue::emulator::detail::running.block_dim;
[[gnu::used]] inline constexpr const dim3& gridDim = accrue::emulator::detail::running.grid_dim;
inline constexpr int warpSize = 32;
