#include "core/cuda/event.cuh"

#include "core/cuda/check.cuh"

namespace accrue::cuda {

bool has_passed(cudaEvent_t event) {
  const cudaError_t error = cudaEventQuery(event);
  if (error == cudaErrorNotReady) {
    cudaGetLastError();  // or the next launch is taken for the culprit
    return false;
  }
  check(error, "cudaEventQuery");
  return true;
}

void wait_for(cudaEvent_t event) {
  if (!has_passed(event)) check(cudaEventSynchronize(event), "cudaEventSynchronize");
}

}  // namespace accrue::cuda
