// How a kernel reports bad data (an id outside its table, say): nobody waits for a kernel, so the error is thrown by
// the next call that waits for the device anyway.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/shape.h"

namespace accrue::cuda {

// What a message says about the operation itself; the host knows it before the kernel starts.
struct FaultContext {
  Shape shape;              // of the tensor that the place is in
  std::int64_t number = 0;  // what else the message names
};

// What went wrong first, in memory that host and device share.
struct Fault {
  // Turns the fault into an exception, on the host. 0: no fault.
  std::uintptr_t thrower;
  std::int64_t place;
  std::int64_t value;
  std::int64_t limit;
  FaultContext context;
};
using FaultThrower = void (*)(const Fault&);

// A kernel argument. `claimed` is in device memory: the first thread to take it reports, the others go on.
struct FaultSink {
  std::int32_t* claimed;
  Fault* record;
  FaultContext context = {};
};

// The sink of the device whose stream the calling thread uses.
FaultSink fault_sink(int index);

#if defined(__CUDACC__) || defined(ACCRUE_CUDA_EMULATED)
inline __device__ void report_fault(FaultSink sink, std::uintptr_t thrower, std::int64_t place, std::int64_t value,
                                    std::int64_t limit) {
  if (atomicExch(sink.claimed, 1) != 0) return;
  sink.record->place = place;
  sink.record->value = value;
  sink.record->limit = limit;
  sink.record->context = sink.context;
  __threadfence_system();
  *static_cast<volatile std::uintptr_t*>(&sink.record->thrower) = thrower;
}
#endif

}  // namespace accrue::cuda
