// The sizes, dtypes and devices that every kernel test runs over, and random operands for it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "core/cuda_devices.h"
#include "core/tensor.h"

namespace accrue::testing {

// Around the widths of vectors and warps, odd, and beyond one block.
inline const std::vector<std::int64_t> sweep_cols = {1, 31, 32, 33, 1000, 4097};
inline const std::vector<std::int64_t> sweep_rows = {0, 1, 7};
inline const std::vector<DType> float_dtypes = {DType::f32, DType::f16, DType::bf16};

// Every device that this build and machine have; ACCRUE_TEST_DEVICES=cpu or cuda in the environment leaves the other
// out.
inline std::vector<Device> devices() {
  const char* variable = std::getenv("ACCRUE_TEST_DEVICES");
  const std::string only = variable == nullptr ? "" : variable;
  std::vector<Device> all;
  if (only != "cuda") all.push_back(Device::cpu());
  if (only != "cpu" && cuda::usable(0)) all.push_back(Device::cuda());
  return all;
}

// What activations may be in on a device: the CPU's kernels compute in f32 alone.
inline std::vector<DType> activation_dtypes(Device device) {
  return device.kind == DeviceKind::cpu ? std::vector<DType>{DType::f32} : float_dtypes;
}

inline std::vector<float> random_floats(std::int64_t count, std::uint64_t seed, float mean = 0, float deviation = 1) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(generator);
  return values;
}

inline Tensor tensor_of(const std::vector<float>& values, const Shape& shape, DType dtype = DType::f32,
                        Device device = Device::cpu()) {
  return dispatch_float(dtype, "tensor_of", [&](auto tag) {
    using T = decltype(tag);
    std::vector<T> converted;
    for (float value : values) converted.push_back(T(value));
    return Tensor::from<T>(converted, shape, device);
  });
}

inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype = DType::f32,
                            Device device = Device::cpu(), float mean = 0, float deviation = 1) {
  return tensor_of(random_floats(shape.numel(), seed, mean, deviation), shape, dtype, device);
}

}  // namespace accrue::testing
