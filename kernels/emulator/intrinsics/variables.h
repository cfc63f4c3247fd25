// threadIdx and its relatives.
#pragma once

#include "kernels/emulator/emulator.h"

inline constexpr const uint3& threadIdx = accrue::emulator::detail::running.thread_index;
inline constexpr const uint3& blockIdx = accrue::emulator::detail::running.block_index;
inline constexpr const dim3& blockDim = accrue::emulator::detail::running.block_dim;
inline constexpr const dim3& gridDim = accrue::emulator::detail::running.grid_dim;
inline constexpr int warpSize = 32;
