// The machine's state of a suspended flow of control, and the switch from one to another.
//
// By hand for x86-64 and AArch64, where a switch is a dozen instructions; ucontext elsewhere (and everywhere with
// -DACCRUE_EMULATOR_UCONTEXT), which makes two system calls for each.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) && !defined(__aarch64__)
#define ACCRUE_EMULATOR_UCONTEXT
#endif
#ifdef ACCRUE_EMULATOR_UCONTEXT
#include <ucontext.h>
#endif

namespace accrue::emulator {

class Context {
 public:
  Context() = default;  // of the caller; its first switch fills it in
  // Of a function that has not begun. It must never return. `stack` is the lowest address of `bytes`.
  Context(void* stack, std::size_t bytes, void (*function)());

  // Suspends the caller in this context and goes on in `next`.
  void switch_to(Context& next);

 private:
#ifdef ACCRUE_EMULATOR_UCONTEXT
  ucontext_t state_{};
#else
  void* stack_pointer_ = nullptr;  // the saved registers lie there
#endif
};

}  // namespace accrue::emulator
