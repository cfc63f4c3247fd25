// Errors of the CUDA runtime as Accrue's exceptions.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "core/check.h"

namespace accrue::cuda {

// Throws unless the call succeeded: check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo on cuda:{}", index). An
// asynchronous call also reports what work before it did wrong; the message says so.
template <class... Args>
void check(cudaError_t error, fmt::format_string<Args...> call, Args&&... args) {
  if (error == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // what can be cleared is cleared: the next call shall not report it again
  fail(error == cudaErrorMemoryAllocation ? ErrorKind::memory : ErrorKind::internal,
       "{} failed: {} ({}); the cause may be work started before it", fmt::format(call, std::forward<Args>(args)...),
       cudaGetErrorName(error), cudaGetErrorString(error));
}

}  // namespace accrue::cuda
