// A build without CUDA.
#include "core/check.h"
#include "core/cuda_devices.h"

namespace accrue::cuda {
namespace {

[[noreturn]] void refuse(int index) { fail(ErrorKind::no_device, "cuda:{}: {}", index, why_unavailable()); }

}  // namespace

int device_count() { return 0; }
bool emulated() { return false; }
std::string why_unavailable() {
  return "this build of Accrue has no CUDA backend; configure with the preset cuda (it needs nvcc), or use --device "
         "cpu";
}
bool usable(int) { return false; }
bool has_code(int index) { refuse(index); }
int compute_capability(int index) { refuse(index); }
std::string description(int index) { refuse(index); }
DeviceMemory& memory(int index) { refuse(index); }
void* compute_stream(int index) { refuse(index); }
void synchronize(int index) { refuse(index); }

}  // namespace accrue::cuda
