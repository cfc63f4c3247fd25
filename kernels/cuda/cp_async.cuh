// Copies from global to shared memory that a thread starts and waits for later (PTX ISA, "cp.async"). Before sm_80, and
// where zeros are asked for on the emulated device, the copy is done at once, which is never too early.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/ptx.cuh"

namespace accrue::kernels::cuda {

// What arrives: the bytes at the source, or zeros, and the source is not touched.
enum class Arrives : std::uint32_t { zeros, bytes };

// Starts copying `size` bytes, 4 or 16; both addresses must be multiples of it. What the thread has started since its
// last commit is a group. The block sees the bytes after their thread has waited and then come to a barrier.
template <int size>
__device__ inline void copy_async(void* shared, const void* global, Arrives arrives ACCRUE_CALLER) {
  static_assert(size == 4 || size == 16);
  using Word = Pack<std::uint32_t, size / 4>;
#ifdef ACCRUE_CUDA_EMULATED
  if (arrives == Arrives::bytes)
    emulator::copy_async(shared, global, size, caller);
  else
    *static_cast<Word*>(shared) = Word{};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  *static_cast<Word*>(shared) = arrives == Arrives::bytes ? *static_cast<const Word*>(global) : Word{};
#else
  const unsigned bytes = arrives == Arrives::bytes ? size : 0;
  if constexpr (size == 16)  // past the first-level cache: what is in shared memory is not read from there again
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
#endif
}

// Ends a group, which may be empty.
__device__ inline void copy_async_commit() {
#ifdef ACCRUE_CUDA_EMULATED
  emulator::copy_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most the `groups_left` latest groups of this thread are still on their way.
template <int groups_left>
__device__ inline void copy_async_wait() {
#ifdef ACCRUE_CUDA_EMULATED
  emulator::copy_async_wait(groups_left);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
#endif
}

}  // namespace accrue::kernels::cuda
