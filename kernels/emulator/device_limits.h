// What the emulated device is: an imagined small relative of the H100 (compute capability 9.0), with the limits of
// "CUDA C++ Programming Guide", Technical Specifications per Compute Capability.
#pragma once

#include <cstddef>

namespace accrue::emulator {

inline constexpr const char* kDeviceName = "Accrue emulated device";
inline constexpr int kComputeMajor = 9, kComputeMinor = 0;
inline constexpr int kMultiprocessors = 4;

inline constexpr unsigned kMaxThreadsPerBlock = 1024;
inline constexpr unsigned kMaxBlockX = 1024, kMaxBlockY = 1024, kMaxBlockZ = 64;
inline constexpr unsigned kMaxGridX = 0x7FFFFFFF, kMaxGridY = 65535, kMaxGridZ = 65535;
inline constexpr int kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32;

inline constexpr std::size_t kSharedPerBlock = 48 * 1024;        // without asking
inline constexpr std::size_t kSharedPerBlockOptIn = 227 * 1024;  // after cudaFuncSetAttribute()
inline constexpr std::size_t kSharedPerMultiprocessor = 228 * 1024;
inline constexpr std::size_t kSharedReservedPerBlock = 1024;
inline constexpr int kRegistersPerMultiprocessor = 65536;
inline constexpr std::size_t kConstantMemory = 64 * 1024;
inline constexpr int kL2Bytes = 50 * 1024 * 1024;

}  // namespace accrue::emulator
