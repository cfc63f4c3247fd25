// The attention kernels applied to random operands.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "tests/testing/reference_attention.h"
#include "tests/testing/sweep.h"

namespace accrue::testing::attention {

// Each device with each dtype that it takes.
inline std::vector<Target> targets() {
  std::vector<Target> all;
  for (const Device device : devices())
    for (const DType dtype : activation_dtypes(device)) all.push_back({device, dtype});
  return all;
}
inline bool on_cpu(const Target& target) { return target.device.kind == DeviceKind::cpu; }

inline Tensor full_of_nan(const Shape& shape, const Target& on) {
  return tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), std::numeric_limits<float>::quiet_NaN()),
                   shape, on.dtype, on.device);
}

inline Tensor random_qkv(const Case& c, std::uint64_t seed) {
  std::vector<float> values = random_floats(c.qkv_shape().numel(), seed, 0, c.deviation);
  const auto features = static_cast<std::size_t>(c.head_size), third = static_cast<std::size_t>(c.channels());
  if (c.offset != 0)
    for (std::size_t i = 0; i < values.size(); i += features)
      if (i / third % 3 < 2) values[i] += c.offset;
  if (c.grid > 0)
    for (float& value : values) value = c.grid * std::round(value / c.grid);
  return tensor_of(values, c.qkv_shape(), c.on.dtype, c.on.device);
}

struct Evaluated {
  Case shape;
  Tensor qkv, dy, y, logsumexp, dqkv;

  enum class Passes { forward, both };

  explicit Evaluated(const Case& c, std::uint64_t seed = 1, Passes passes = Passes::both)
      : Evaluated(c, random_qkv(c, seed), random_tensor(c.y_shape(), seed + 1, c.on.dtype, c.on.device), passes) {}

  // Results start as NaN: what an operation fails to write, or adds to, shows.
  Evaluated(const Case& c, const Tensor& qkv_values, const Tensor& dy_values, Passes passes = Passes::both)
      : shape(c),
        qkv(qkv_values),
        dy(dy_values),
        y(full_of_nan(c.y_shape(), c.on)),
        logsumexp(full_of_nan(c.stats_shape(), {c.on.device})),
        dqkv(full_of_nan(c.qkv_shape(), c.on)) {
    forward();
    if (passes == Passes::both) backward();
  }

  kernels::AttentionForward forward_arguments() const {
    return {.y = y,
            .logsumexp = logsumexp,
            .qkv = qkv,
            .heads = static_cast<int>(shape.heads),
            .scale = shape.scale,
            .dropout_p = shape.dropout_p,
            .key = random_key,
            .site = site};
  }
  kernels::AttentionBackward backward_arguments() const {
    return {.dqkv = dqkv,
            .dy = dy,
            .y = y,
            .logsumexp = logsumexp,
            .qkv = qkv,
            .heads = static_cast<int>(shape.heads),
            .scale = shape.scale,
            .dropout_p = shape.dropout_p,
            .key = random_key,
            .site = site};
  }
  void forward() const { kernels::attention_forward(forward_arguments()); }
  void backward() const { kernels::attention_backward(backward_arguments()); }
};

}  // namespace accrue::testing::attention
