#include "kernels/cuda/launch.cuh"

#include <array>
#include <map>
#include <mutex>

#include "core/cuda/check.cuh"

namespace accrue::kernels::cuda {

int multiprocessors(const Tensor& tensor) {
  static std::mutex mutex;
  static std::map<int, int> counts;
  const int index = tensor.device().index;
  const std::lock_guard lock(mutex);
  int& count = counts[index];
  if (count == 0)
    accrue::cuda::check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, index),
                        "cudaDeviceGetAttribute(multiprocessors) of cuda:{}", index);
  return count;
}

void allow_shared_bytes(const Launch& launch, const void* kernel) {
  constexpr std::size_t allowed_at_first = 48 * 1024;
  if (launch.shared_bytes <= allowed_at_first) return;
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, std::size_t> allowed;
  const std::lock_guard lock(mutex);
  std::size_t& limit = allowed[{kernel, launch.on.device().index}];
  if (launch.shared_bytes <= limit) return;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(launch.shared_bytes));
  accrue::cuda::check(error, "{}: cudaFuncSetAttribute({} bytes of shared memory) for an operand {} {} on {}",
                      launch.name, launch.shared_bytes, name_of(launch.on.dtype()), launch.on.shape(),
                      launch.on.device().to_string());
  limit = launch.shared_bytes;
}

void check_launch(const Launch& launch, cudaError_t error) {
  const dim3 g = launch.grid, b = launch.block;
  accrue::cuda::check(error,
                      "{}: launch of [{}, {}, {}] blocks of [{}, {}, {}] threads with {} bytes of shared memory for an "
                      "operand {} {} on {}",
                      launch.name, g.x, g.y, g.z, b.x, b.y, b.z, launch.shared_bytes, name_of(launch.on.dtype()),
                      launch.on.shape(), launch.on.device().to_string());
}

}  // namespace accrue::kernels::cuda
