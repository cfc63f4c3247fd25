// The constants with which every backend evaluates GELU in f32.
#pragma once

namespace accrue::kernels {

// 0.5 (1 + tanh(v)) = 1 / (1 + e^(-2v)) = 1 / (1 + 2^-t): one exponential and one division, with none of the
// cancellation that 1 + tanh has for negative v. With v = sqrt(2/pi) (x + 0.044715 x^3), t = 2 v log2(e) = x (linear +
// cubic x^2).
inline constexpr float gelu_linear = 0x1.26aec2p+1f;  // 2 sqrt(2/pi) log2(e)
inline constexpr float gelu_cubic = 0x1.a5a7dp-4f;    // gelu_linear * 0.044715

// Where 2^-t leaves f32, as bounds of x: t(gelu_zero) = -128, where 2^-t is infinite and the gate 0; t(gelu_smallest) =
// -126, where the gate is the smallest normal number; t(gelu_one) = 127, where 2^-t is 0 and the gate 1.
inline constexpr float gelu_zero = -10.0610f;
inline constexpr float gelu_smallest = -10.0010f;
inline constexpr float gelu_one = 10.0311f;

}  // namespace accrue::kernels
