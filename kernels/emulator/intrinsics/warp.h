// The collectives of a warp: "CUDA C++ Programming Guide", Warp Vote, Match, Reduce and Shuffle Functions.
#pragma once

#include "kernels/emulator/emulator.h"

namespace accrue::emulator::detail {

// Combines what the lanes have brought, in the order of the lanes.
template <class T, class Combine>
T fold(unsigned mask, const T& value, const char* operation, Location where, Combine combine) {
  const WarpValues<T> values = exchange(mask, value, operation, where);
  unsigned rest = values.lanes();
  T result = values[static_cast<unsigned>(std::countr_zero(rest))];
  for (rest &= rest - 1; rest != 0; rest &= rest - 1) {
    result = combine(result, values[static_cast<unsigned>(std::countr_zero(rest))]);
  }
  return result;
}

inline unsigned segment_start(int width) { return lane() & ~(static_cast<unsigned>(width) - 1); }
inline unsigned segment_end(int width) { return segment_start(width) + static_cast<unsigned>(width); }

}  // namespace accrue::emulator::detail

#define ACCRUE_EMULATOR_HERE accrue::emulator::Location where = accrue::emulator::Location::current()

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, ACCRUE_EMULATOR_HERE) {
  accrue::emulator::exchange(mask, char{}, "__syncwarp()", where);
}

// Shuffles: a lane of the segments of `width` lanes, a power of two, gives its value; outside of the segment it is
// one's own.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__shfl_sync()", where);
  const unsigned in_segment = static_cast<unsigned>(source) & (static_cast<unsigned>(width) - 1);
  return values[accrue::emulator::detail::segment_start(width) | in_segment];
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__shfl_up_sync()", where);
  const unsigned lane = accrue::emulator::lane();
  return delta > lane - accrue::emulator::detail::segment_start(width) ? value : values[lane - delta];
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__shfl_down_sync()", where);
  const unsigned lane = accrue::emulator::lane();
  return delta >= accrue::emulator::detail::segment_end(width) - lane ? value : values[lane + delta];
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__shfl_xor_sync()", where);
  const unsigned source = (accrue::emulator::lane() ^ static_cast<unsigned>(lane_mask)) % 32;
  return source >= accrue::emulator::detail::segment_end(width) ? value : values[source];
}

inline unsigned __ballot_sync(unsigned mask, int vote, ACCRUE_EMULATOR_HERE) {
  const unsigned own = vote != 0 ? 1u << accrue::emulator::lane() : 0;
  return accrue::emulator::detail::fold(mask, own, "__ballot_sync()", where,
                                        [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int vote, ACCRUE_EMULATOR_HERE) {
  return accrue::emulator::detail::fold(mask, int{vote != 0}, "__any_sync()", where,
                                        [](int a, int b) { return a | b; });
}
inline int __all_sync(unsigned mask, int vote, ACCRUE_EMULATOR_HERE) {
  return accrue::emulator::detail::fold(mask, int{vote != 0}, "__all_sync()", where,
                                        [](int a, int b) { return a & b; });
}

// For int and unsigned, as on the device.
#define ACCRUE_EMULATOR_REDUCTION(type, name, expression)                                       \
  inline type name(unsigned mask, type value, ACCRUE_EMULATOR_HERE) {                           \
    return accrue::emulator::detail::fold(mask, value, #name "()", where,                       \
                                          [](type a, type b) -> type { return (expression); }); \
  }
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_add_sync, a + b)
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_min_sync, b < a ? b : a)
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_max_sync, a < b ? b : a)
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_and_sync, a& b)
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_or_sync, a | b)
ACCRUE_EMULATOR_REDUCTION(unsigned, __reduce_xor_sync, a ^ b)
ACCRUE_EMULATOR_REDUCTION(int, __reduce_add_sync, static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)))
ACCRUE_EMULATOR_REDUCTION(int, __reduce_min_sync, b < a ? b : a)
ACCRUE_EMULATOR_REDUCTION(int, __reduce_max_sync, a < b ? b : a)
#undef ACCRUE_EMULATOR_REDUCTION

// Equality is that of the bits, as on the device: NaN matches NaN, and 0.0 does not match -0.0.
template <class T>
unsigned __match_any_sync(unsigned mask, T value, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__match_any_sync()", where);
  unsigned result = 0;
  for (unsigned rest = values.lanes(); rest != 0; rest &= rest - 1) {
    const T other = values[static_cast<unsigned>(std::countr_zero(rest))];
    if (std::memcmp(&other, &value, sizeof value) == 0) result |= rest & -rest;
  }
  return result;
}

template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, ACCRUE_EMULATOR_HERE) {
  const auto values = accrue::emulator::exchange(mask, value, "__match_all_sync()", where);
  *all = 1;
  for (unsigned rest = values.lanes(); rest != 0; rest &= rest - 1) {
    const T other = values[static_cast<unsigned>(std::countr_zero(rest))];
    if (std::memcmp(&other, &value, sizeof value) != 0) *all = 0;
  }
  return *all != 0 ? values.lanes() : 0;
}

// The least that the device may answer; who needs more must not use it.
inline unsigned __activemask() { return 1u << accrue::emulator::lane(); }

#undef ACCRUE_EMULATOR_HERE
