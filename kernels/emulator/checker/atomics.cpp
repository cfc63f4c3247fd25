// The functions that -fsanitize=thread puts in the place of atomic operations of C++, as std::shared_ptr has in the
// host code of a .cu file. One thread at a time is in there, or in a kernel: sequential consistency costs nothing.
#include <cstdint>

#include "kernels/emulator/checker/checker.h"

using accrue::emulator::checker::instance;
using accrue::emulator::checker::Kind;

namespace {

// In a kernel it is an access like that of atomicAdd().
template <class T>
T* noted(T* memory, const void* return_address) {
  instance().access(memory, sizeof(T), Kind::atomic, return_address);
  return memory;
}

}  // namespace

#define ACCRUE_NOTED(memory) noted(memory, __builtin_return_address(0))

#define ACCRUE_CHECKER_ATOMIC(bits, T)                                                                 \
  T __tsan_atomic##bits##_load(const T* memory, int) {                                                 \
    return __atomic_load_n(ACCRUE_NOTED(const_cast<T*>(memory)), __ATOMIC_SEQ_CST);                    \
  }                                                                                                    \
  void __tsan_atomic##bits##_store(T* memory, T value, int) {                                          \
    __atomic_store_n(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                                   \
  }                                                                                                    \
  T __tsan_atomic##bits##_exchange(T* memory, T value, int) {                                          \
    return __atomic_exchange_n(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                         \
  }                                                                                                    \
  T __tsan_atomic##bits##_fetch_add(T* memory, T value, int) {                                         \
    return __atomic_fetch_add(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                          \
  }                                                                                                    \
  T __tsan_atomic##bits##_fetch_sub(T* memory, T value, int) {                                         \
    return __atomic_fetch_sub(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                          \
  }                                                                                                    \
  T __tsan_atomic##bits##_fetch_and(T* memory, T value, int) {                                         \
    return __atomic_fetch_and(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                          \
  }                                                                                                    \
  T __tsan_atomic##bits##_fetch_or(T* memory, T value, int) {                                          \
    return __atomic_fetch_or(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                           \
  }                                                                                                    \
  T __tsan_atomic##bits##_fetch_xor(T* memory, T value, int) {                                         \
    return __atomic_fetch_xor(ACCRUE_NOTED(memory), value, __ATOMIC_SEQ_CST);                          \
  }                                                                                                    \
  int __tsan_atomic##bits##_compare_exchange_strong(T* memory, T* expected, T value, int, int) {       \
    return __atomic_compare_exchange_n(ACCRUE_NOTED(memory), expected, value, false, __ATOMIC_SEQ_CST, \
                                       __ATOMIC_SEQ_CST);                                              \
  }                                                                                                    \
  int __tsan_atomic##bits##_compare_exchange_weak(T* memory, T* expected, T value, int, int) {         \
    return __atomic_compare_exchange_n(ACCRUE_NOTED(memory), expected, value, true, __ATOMIC_SEQ_CST,  \
                                       __ATOMIC_SEQ_CST);                                              \
  }

extern "C" {

ACCRUE_CHECKER_ATOMIC(8, std::uint8_t)
ACCRUE_CHECKER_ATOMIC(16, std::uint16_t)
ACCRUE_CHECKER_ATOMIC(32, std::uint32_t)
ACCRUE_CHECKER_ATOMIC(64, std::uint64_t)

void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
