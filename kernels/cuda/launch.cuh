// The one way in which kernels start, on a GPU and on the emulated device.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "core/cuda/device.cuh"
#include "core/tensor.h"

#ifdef ACCRUE_CUDA_EMULATED
#include "kernels/emulator/emulator.h"
#else
#include <tuple>
#endif

// A block's dynamic shared memory as an array: ACCRUE_DYNAMIC_SHARED(float, tile). One declaration a kernel; more
// arrays are parts of it. Aligned to 16 bytes.
#ifdef ACCRUE_CUDA_EMULATED
#define ACCRUE_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(accrue::emulator::dynamic_shared())
#else
#define ACCRUE_DYNAMIC_SHARED(T, name)                                    \
  extern __shared__ __align__(16) unsigned char accrue_dynamic_shared_[]; \
  T* name = reinterpret_cast<T*>(accrue_dynamic_shared_)
#endif

namespace accrue::kernels::cuda {

using accrue::cuda::FaultSink;
#if defined(__CUDACC__) || defined(ACCRUE_CUDA_EMULATED)
using accrue::cuda::report_fault;
#endif

// What is started, and for whom; `on` is the operand that the message of a failure describes.
struct Launch {
  std::string_view name;
  const Tensor& on;
  dim3 grid = 1;
  dim3 block = 256;
  std::size_t shared_bytes = 0;  // dynamic shared memory of a block
};

inline cudaStream_t stream_of(const Tensor& tensor) {
  const accrue::cuda::CudaDevice& device = accrue::cuda::device(tensor.device().index);
  device.activate();
  return device.stream();
}
inline FaultSink fault_sink_of(const Tensor& tensor) { return accrue::cuda::fault_sink(tensor.device().index); }

// Multiprocessors of the tensor's device.
int multiprocessors(const Tensor& tensor);

// Implementation of launch(): allows the kernel more than 48 KiB of dynamic shared memory where it asks for it.
void allow_shared_bytes(const Launch& launch, const void* kernel);
// Implementation of launch(): throws, with everything that the launch knows about itself, unless it succeeded.
void check_launch(const Launch& launch, cudaError_t error);

// Starts kernel(arguments…) on the compute stream of `launch.on`'s device. A grid of no blocks is no launch.
template <class... Parameters, class... Arguments>
void launch(const Launch& launch, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0) return;
  const cudaStream_t stream = stream_of(launch.on);
  allow_shared_bytes(launch, reinterpret_cast<const void*>(kernel));
#ifdef ACCRUE_CUDA_EMULATED
  check_launch(launch, emulator::launch(launch.name.data(), kernel, launch.grid, launch.block, launch.shared_bytes,
                                        stream, std::forward<Arguments>(arguments)...));
#else
  std::tuple<std::remove_cv_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
  std::apply(
      [&](auto&... value) {
        void* addresses[] = {static_cast<void*>(&value)...};
        check_launch(launch, cudaLaunchKernel(reinterpret_cast<const void*>(kernel), launch.grid, launch.block,
                                              addresses, launch.shared_bytes, stream));
      },
      values);
#endif
}

}  // namespace accrue::kernels::cuda
