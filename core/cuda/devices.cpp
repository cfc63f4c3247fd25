#include <array>
#include <memory>

#include "core/cuda/check.cuh"
#include "core/cuda/code_probe.cuh"
#include "core/cuda/device.cuh"
#include "core/cuda_devices.h"

namespace accrue::cuda {
namespace {

constexpr int max_devices = 64;

struct Count {
  int devices = 0;
  cudaError_t error = cudaSuccess;
};

// Asked once: a driver does not come up while the program runs.
const Count& count() {
  static const Count result = [] {
    Count asked;
    asked.error = cudaGetDeviceCount(&asked.devices);
    if (asked.error != cudaSuccess) {
      cudaGetLastError();
      asked.devices = 0;
    }
    return asked;
  }();
  return result;
}

void require_device(int index) {
  if (device_count() == 0) fail(ErrorKind::no_device, "cuda:{}: {}", index, why_unavailable());
  if (index < 0 || index >= std::min(device_count(), max_devices))
    fail(ErrorKind::no_device, "cuda:{}: there is no such device, this machine has cuda:0 to cuda:{}", index,
         device_count() - 1);
}

}  // namespace

int device_count() { return count().devices; }

bool emulated() {
#ifdef ACCRUE_CUDA_EMULATED
  return true;
#else
  return false;
#endif
}

std::string why_unavailable() {
  if (device_count() > 0) return "a GPU is here, but it cannot be used; --device cuda says why";
  if (count().error == cudaSuccess) return "the CUDA driver is there, but no GPU; use --device cpu";
  return fmt::format(
      "the CUDA driver says: {}; see that a GPU and its driver are there (nvidia-smi), or use --device cpu",
      cudaGetErrorString(count().error));
}

bool has_code(int index) {
  require_device(index);
  check(cudaSetDevice(index), "cudaSetDevice({})", index);
  return current_device_has_code();
}

bool usable(int index) {
  if (index >= device_count()) return false;
  try {
    return has_code(index);
  } catch (const Error&) {
    return false;
  }
}

int compute_capability(int index) {
  require_device(index);
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index),
        "cudaDeviceGetAttribute(compute capability) of cuda:{}", index);
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index),
        "cudaDeviceGetAttribute(compute capability) of cuda:{}", index);
  return 10 * major + minor;
}

CudaDevice& device(int index) {
  require_device(index);
  // Never destroyed: tensors in static storage may be freed after any destructor would have run.
  static auto* devices = new std::array<std::unique_ptr<CudaDevice>, max_devices>;
  static auto* mutex = new std::mutex;
  const std::lock_guard lock(*mutex);
  std::unique_ptr<CudaDevice>& slot = (*devices)[static_cast<std::size_t>(index)];
  if (!slot) {
    if (!has_code(index)) {
      const int capability = compute_capability(index);
      fail(ErrorKind::no_device,
           "cuda:{} has compute capability {}.{}, for which this program was not compiled; configure it with "
           "-DCMAKE_CUDA_ARCHITECTURES=native, or use --device cpu",
           index, capability / 10, capability % 10);
    }
    slot = std::make_unique<CudaDevice>(index);
  }
  return *slot;
}

std::string description(int index) { return device(index).description(); }
DeviceMemory& memory(int index) { return device(index); }
void synchronize(int index) { device(index).synchronize(); }
FaultSink fault_sink(int index) { return device(index).fault_sink(); }

void* compute_stream(int index) {
  const CudaDevice& on = device(index);
  on.activate();
  return on.stream();
}

}  // namespace accrue::cuda
