// Device functions of __half. Included by the emulator's cuda_fp16.h.
#pragma once

#include "kernels/emulator/intrinsics/narrow_functions.h"

inline double accrue_emulator_widen(__half x) { return static_cast<double>(__half2float(x)); }
inline __half accrue_emulator_round(double x, __half) { return __double2half(x); }
ACCRUE_EMULATOR_NARROW_FUNCTIONS(__half, __half2)
