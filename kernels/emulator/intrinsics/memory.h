// Loads and stores with hints about the caches, which mean nothing here.
#pragma once

#include <cstddef>
#include <type_traits>

#include "kernels/emulator/intrinsics/qualifiers.h"

// Inline in every build, so that the checker names the line of the kernel.
#define ACCRUE_EMULATOR_LOAD(name)           \
  template <class T>                         \
  __forceinline__ T name(const T* address) { \
    return *address;                         \
  }
ACCRUE_EMULATOR_LOAD(__ldg)
ACCRUE_EMULATOR_LOAD(__ldca)
ACCRUE_EMULATOR_LOAD(__ldcg)
ACCRUE_EMULATOR_LOAD(__ldcs)
ACCRUE_EMULATOR_LOAD(__ldcv)
ACCRUE_EMULATOR_LOAD(__ldlu)
#undef ACCRUE_EMULATOR_LOAD

#define ACCRUE_EMULATOR_STORE(name)                                      \
  template <class T>                                                     \
  __forceinline__ void name(T* address, std::type_identity_t<T> value) { \
    *address = value;                                                    \
  }
ACCRUE_EMULATOR_STORE(__stcg)
ACCRUE_EMULATOR_STORE(__stcs)
ACCRUE_EMULATOR_STORE(__stwb)
ACCRUE_EMULATOR_STORE(__stwt)
#undef ACCRUE_EMULATOR_STORE

inline std::size_t __cvta_generic_to_shared(const void* address) { return reinterpret_cast<std::size_t>(address); }
inline std::size_t __cvta_generic_to_global(const void* address) { return reinterpret_cast<std::size_t>(address); }
