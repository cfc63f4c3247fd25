// Atomic functions: "CUDA C++ Programming Guide", Atomic Functions.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/emulator/atomic_access.h"
#include "kernels/emulator/emulator.h"

namespace accrue::emulator::detail {

// Replaces *memory by change(*memory) and returns what was there.
template <class T, class Change>
T update(T* memory, Change change) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8));
  if (reinterpret_cast<std::uintptr_t>(memory) % sizeof(T) != 0) fail("a misaligned atomic operation", {});
  std::array<std::byte, sizeof(T)> bytes;
  atomic_load(bytes.data(), memory, sizeof(T));
  const T old = std::bit_cast<T>(bytes);
  const T changed = change(old);
  atomic_store(memory, &changed, sizeof(T));
  return old;
}

}  // namespace accrue::emulator::detail

// The second argument converts to the type of the first, as the overloads of the toolkit make it do. These also take
// the half types, whose toolkit functions are for device compilers alone.
#define ACCRUE_EMULATOR_ATOMIC(name, expression)                                                        \
  template <class T>                                                                                    \
  T name(T* memory, std::type_identity_t<T> value) {                                                    \
    return accrue::emulator::detail::update(memory, [&](T old) { return static_cast<T>(expression); }); \
  }
ACCRUE_EMULATOR_ATOMIC(atomicAdd, old + value)
ACCRUE_EMULATOR_ATOMIC(atomicSub, old - value)
ACCRUE_EMULATOR_ATOMIC(atomicMin, value < old ? value : old)
ACCRUE_EMULATOR_ATOMIC(atomicMax, old < value ? value : old)
ACCRUE_EMULATOR_ATOMIC(atomicAnd, old& value)
ACCRUE_EMULATOR_ATOMIC(atomicOr, old | value)
ACCRUE_EMULATOR_ATOMIC(atomicXor, old ^ value)
ACCRUE_EMULATOR_ATOMIC(atomicExch, value)
#undef ACCRUE_EMULATOR_ATOMIC

template <class T>
T atomicCAS(T* memory, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return accrue::emulator::detail::update(memory, [&](T old) { return old == expected ? value : old; });
}

inline unsigned atomicInc(unsigned* memory, unsigned last) {
  return accrue::emulator::detail::update(memory, [&](unsigned old) { return old >= last ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* memory, unsigned last) {
  return accrue::emulator::detail::update(memory,
                                          [&](unsigned old) { return old == 0 || old > last ? last : old - 1; });
}
