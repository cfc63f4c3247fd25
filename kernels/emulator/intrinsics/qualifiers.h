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

// A shared variable is one static variable, as one block runs at a time. The mark in its symbol's name
// (shared_variables.h) lets the engine find it and fill it with 0xFF for each block; an attribute for a section would
// do as well, did GCC not ignore that in templates. `constinit` because the toolkit's half types have constructors:
// without it the first thread that comes along would construct them.
#ifdef __clang__
#define __shared__ static __attribute__((abi_tag("accrue_shared")))
#else
#define __shared__ constinit static __attribute__((abi_tag("accrue_shared")))
#endif
