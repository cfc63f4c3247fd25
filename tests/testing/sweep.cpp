#include "tests/testing/sweep.h"

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "core/cuda_devices.h"

namespace accrue::testing {

std::vector<Device> devices() {
  const char* variable = std::getenv("ACCRUE_TEST_DEVICES");
  const std::string only = variable == nullptr ? "" : variable;
  std::vector<Device> all;
  if (only != "cuda") all.push_back(Device::cpu());
  if (only != "cpu" && cuda::usable(0)) all.push_back(Device::cuda());
  return all;
}

std::vector<float> random_floats(std::int64_t count, std::uint64_t seed, float mean, float deviation) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(generator);
  return values;
}

Tensor tensor_of(const std::vector<float>& values, const Shape& shape, DType dtype, Device device) {
  return dispatch_float(dtype, "tensor_of", [&](auto tag) {
    using T = decltype(tag);
    std::vector<T> converted(values.size());
    std::ranges::transform(values, converted.begin(), [](float value) { return T(value); });
    return Tensor::from<T>(converted, shape, device);
  });
}

Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype, Device device, float mean, float deviation) {
  return tensor_of(random_floats(shape.numel(), seed, mean, deviation), shape, dtype, device);
}

}  // namespace accrue::testing
