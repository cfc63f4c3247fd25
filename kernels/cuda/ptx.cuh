// What the wrappers around PTX instructions share. Each wrapper has two bodies: the instruction for a GPU, and for the
// emulated device the same effect spelled out, with the lane maps of the PTX ISA.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

// The last parameter of a wrapper: the place of the call, for the emulated device's messages.
#ifdef ACCRUE_CUDA_EMULATED
#define ACCRUE_CALLER , accrue::emulator::Location caller = accrue::emulator::Location::current()
#else
#define ACCRUE_CALLER
#endif

namespace accrue::kernels::cuda {

#ifndef ACCRUE_CUDA_EMULATED
// The address of shared memory as instructions take it.
__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

// 2^x with a relative error of at most 2^-22; results below 2^-126 are 0.
__device__ inline float fast_exp2(float x) {
#ifdef ACCRUE_CUDA_EMULATED
  const float result = exp2f(x);
  return result < 0x1p-126f ? 0.0f : result;  // NaN stays
#else
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#endif
}

}  // namespace accrue::kernels::cuda
