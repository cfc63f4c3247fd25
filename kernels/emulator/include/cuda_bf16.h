// What kernels get for <cuda_bf16.h> in an emulated build: the toolkit's types, conversions and operators, which are
// for the host too, and the emulator's versions of what the toolkit has for device compilers alone.
#pragma once
#pragma GCC system_header  // for #include_next, which is an extension

#include <cuda_runtime.h>

#include_next <cuda_bf16.h>

#include "kernels/emulator/intrinsics/bfloat16.h"
