// Several neighbouring elements as one memory access of up to 16 bytes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/types.cuh"

namespace accrue::kernels::cuda {

// `width` elements in registers, as f32.
template <int width>
struct Floats {
  float v[width];
};

template <class T, int width>
struct alignas(sizeof(T) * width) Pack {
  T v[width];
};

// The address must be a multiple of the access: width * sizeof(T) bytes, at most 16 (two accesses of 16 for eight f32).
template <int width, class T>
__device__ inline Floats<width> load(const T* from) {
  Floats<width> result;
  if constexpr (width * sizeof(T) > 16) {
    constexpr int half = width / 2;
    const Floats<half> low = load<half>(from), high = load<half>(from + half);
#pragma unroll
    for (int i = 0; i < half; ++i) result.v[i] = low.v[i], result.v[half + i] = high.v[i];
  } else {
    const auto pack = *reinterpret_cast<const Pack<T, width>*>(from);
#pragma unroll
    for (int i = 0; i < width; ++i) result.v[i] = to_float(pack.v[i]);
  }
  return result;
}

template <int width, class T>
__device__ inline void store(T* to, const Floats<width>& values) {
  if constexpr (width * sizeof(T) > 16) {
    constexpr int half = width / 2;
    Floats<half> low, high;
#pragma unroll
    for (int i = 0; i < half; ++i) low.v[i] = values.v[i], high.v[i] = values.v[half + i];
    store<half>(to, low);
    store<half>(to + half, high);
  } else {
    Pack<T, width> pack;
#pragma unroll
    for (int i = 0; i < width; ++i) pack.v[i] = from_float<T>(values.v[i]);
    *reinterpret_cast<Pack<T, width>*>(to) = pack;
  }
}

// Elements in one 16-byte access of the narrower of the types.
template <class... T>
constexpr int pack_width() {
  std::size_t smallest = 16;
  ((smallest = sizeof(T) < smallest ? sizeof(T) : smallest), ...);
  return static_cast<int>(16 / smallest);
}

// Whether packs may start at these addresses; null pointers do not matter.
template <class... Pointers>
bool aligned_for_packs(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) | ...) & 15u) == 0;
}

}  // namespace accrue::kernels::cuda
