// Device functions of __nv_bfloat16. Included by the emulator's cuda_bf16.h.
#pragma once

#include "kernels/emulator/intrinsics/narrow_functions.h"

inline double accrue_emulator_widen(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
inline __nv_bfloat16 accrue_emulator_round(double x, __nv_bfloat16) { return __double2bfloat16(x); }
ACCRUE_EMULATOR_NARROW_FUNCTIONS(__nv_bfloat16, __nv_bfloat162)
