// The error that cudaGetLastError() gives.
#pragma once

#include <driver_types.h>

namespace accrue::emulator {

// Keeps the error, if it is one, and returns it.
cudaError_t record_error(cudaError_t error);

}  // namespace accrue::emulator
