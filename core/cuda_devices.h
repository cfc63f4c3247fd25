// The CUDA devices of this machine, as far as this build can use them. Knows no CUDA header: core/cuda/devices.cpp
// stands behind it where the build has CUDA (or the emulated device), core/cuda_devices_none.cpp where it has not.
#pragma once

#include <string>

#include "core/allocator.h"

namespace accrue::cuda {

// Devices of this machine: 0 without the backend, without a driver or without a GPU.
int device_count();
// Whether they are emulated on the CPU: for tests and debugging, and far too slow to be chosen unasked.
bool emulated();
// What to tell somebody who asks for a device although none is usable.
std::string why_unavailable();
// Whether there is this device, with code for it in this program, and not another process's alone.
bool usable(int index);
// Whether this program has code for it: programs are compiled for some GPUs (CMAKE_CUDA_ARCHITECTURES), and others may
// be older than all of these.
bool has_code(int index);
// 10 * major + minor: 90 for compute capability 9.0.
int compute_capability(int index);
// "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB".
std::string description(int index);
// Lives until the process ends; throws Error(no_device) if there is no such device.
DeviceMemory& memory(int index);
// The cudaStream_t on which everything of the device is computed; makes the device the calling thread's current one.
void* compute_stream(int index);
// Waits for all work of the device. Training never does: it is for tests and for timing.
void synchronize(int index);

}  // namespace accrue::cuda
