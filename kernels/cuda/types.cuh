// Element types on the device, and dispatch from a tensor's dtype to them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "core/dtype.h"
#include "core/tensor.h"

namespace accrue::kernels::cuda {

// The device's type of the same bytes as one of Accrue's element types.
template <class T>
struct DeviceType {
  using type = T;
};
template <>
struct DeviceType<f16> {
  using type = __half;
};
template <>
struct DeviceType<bf16> {
  using type = __nv_bfloat16;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// Rounds to nearest, ties to even, once.
template <class T>
__device__ inline T from_float(float x) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(x);
  } else {
    static_assert(std::is_same_v<T, float>);
    return x;
  }
}

// Calls function(tag) with a value of the device's type: float, __half or __nv_bfloat16.
template <class Function>
decltype(auto) dispatch_device_float(DType dtype, std::string_view what, Function&& function) {
  return dispatch_float(
      dtype, what, [&](auto tag) -> decltype(auto) { return function(typename DeviceType<decltype(tag)>::type{}); });
}

// The elements of a tensor whose dtype was dispatched to T.
template <class T>
T* elements(const Tensor& tensor) {
  return reinterpret_cast<T*>(tensor.raw());
}

}  // namespace accrue::kernels::cuda
