#include "kernels/cuda/operation_range.h"

#ifndef ACCRUE_CUDA_EMULATED
#include <nvtx3/nvToolsExt.h>
#endif

namespace accrue::kernels::cuda {

#ifdef ACCRUE_CUDA_EMULATED
OperationRange::OperationRange(const char*) {}
OperationRange::~OperationRange() = default;
#else
OperationRange::OperationRange(const char* name) { nvtxRangePushA(name); }
OperationRange::~OperationRange() { nvtxRangePop(); }
#endif

}  // namespace accrue::kernels::cuda
