// What kernels get for <cuda_runtime.h> in an emulated build: types and prototypes from the toolkit, device code's
// built-ins from the emulator. This folder must come before the toolkit's on the include path.
#pragma once
#pragma GCC system_header  // for #include_next, which is an extension

#include_next <cuda_runtime.h>

#include "kernels/emulator/emulator.h"
#include "kernels/emulator/intrinsics/arithmetic.h"
#include "kernels/emulator/intrinsics/atomics.h"
#include "kernels/emulator/intrinsics/kernel_functions.h"
#include "kernels/emulator/intrinsics/memory.h"
#include "kernels/emulator/intrinsics/qualifiers.h"
#include "kernels/emulator/intrinsics/synchronisation.h"
#include "kernels/emulator/intrinsics/variables.h"
#include "kernels/emulator/intrinsics/warp.h"
