// Waiting for a place in a stream without synchronising where that place has been passed already.
#pragma once

#include <cuda_runtime.h>

namespace accrue::cuda {

bool has_passed(cudaEvent_t event);
void wait_for(cudaEvent_t event);

}  // namespace accrue::cuda
