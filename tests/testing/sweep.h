// The sizes, dtypes and devices that every kernel test runs over, and random operands for it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cuda_devices.h"
#include "core/tensor.h"

namespace accrue::testing {

// Around the widths of vectors and warps, odd, and beyond one block.
inline const std::vector<std::int64_t> sweep_cols = {1, 31, 32, 33, 1000, 4097};
inline const std::vector<std::int64_t> sweep_rows = {0, 1, 7};
inline const std::vector<DType> float_dtypes = {DType::f32, DType::f16, DType::bf16};

// What gradients may accumulate in.
inline const std::vector<DType> gradient_dtypes = {DType::f32, DType::bf16};

// Every device that this build and machine have; ACCRUE_TEST_DEVICES=cpu or cuda in the environment leaves the other
// out.
std::vector<Device> devices();
// What takes a GPU no time takes the emulated device minutes: a test of hundreds of passes has fewer there.
inline bool is_emulated(Device device) { return device.kind == DeviceKind::cuda && cuda::emulated(); }

// What activations may be in on a device: the CPU's kernels compute in f32 alone.
inline std::vector<DType> activation_dtypes(Device device) {
  return device.kind == DeviceKind::cpu ? std::vector<DType>{DType::f32} : float_dtypes;
}

// Normally distributed; the same for the same seed.
std::vector<float> random_floats(std::int64_t count, std::uint64_t seed, float mean = 0, float deviation = 1);
Tensor tensor_of(const std::vector<float>& values, const Shape& shape, DType dtype = DType::f32,
                 Device device = Device::cpu());
Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32, Device device = Device::cpu(),
                     float mean = 0, float deviation = 1);

}  // namespace accrue::testing
