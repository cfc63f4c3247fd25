// The qualifiers of CUDA C++, for the host's compiler.
#pragma once

#undef __host__
#undef __device__
#undef __global__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#undef __cluster_dims__
#undef __grid_constant__

#define __host__
#define __device__
#define __global__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)

// A shared variable is one static variable, as one block runs at a time, in a section that the engine fills with 0xFF
// for each block. `constinit` because the toolkit's half types have constructors: without it they would be constructed
// by the first thread that comes along.
//
// GCC refuses to put variables of templates (and of inline functions) and others into a section of one name, because
// the sections' flags differ. So each has a name of its own for GCC, whose rest is a comment to the assembler.
#if defined(__clang__)
#define __shared__ static __attribute__((section("accrue_shared")))
#else
#if defined(__aarch64__)
#define ACCRUE_EMULATOR_ASSEMBLER_COMMENT "//"
#else
#define ACCRUE_EMULATOR_ASSEMBLER_COMMENT "#"
#endif
#define ACCRUE_EMULATOR_STRING_OF(x) #x
#define ACCRUE_EMULATOR_STRING(x) ACCRUE_EMULATOR_STRING_OF(x)
#define __shared__                 \
  constinit static __attribute__(( \
      section("accrue_shared,\"aw\",%nobits" ACCRUE_EMULATOR_ASSEMBLER_COMMENT ACCRUE_EMULATOR_STRING(__COUNTER__))))
#endif
