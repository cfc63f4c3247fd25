#include "kernels/emulator/context.h"

#include <cstdint>
#include <cstring>

// accrue_emulator_switch(from, to) pushes the registers that a function must preserve, stores the stack pointer at
// `from`, takes `to` for it and pops what that context had pushed. The floating-point control registers are left alone:
// all fibers of a process share one setting.
#if !defined(ACCRUE_EMULATOR_UCONTEXT)
extern "C" void accrue_emulator_switch(void** from, void* to);
#endif

#if defined(ACCRUE_EMULATOR_UCONTEXT)
// Nothing to define.
#elif defined(__x86_64__)
asm(R"(
.text
.globl accrue_emulator_switch
.type accrue_emulator_switch, @function
accrue_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size accrue_emulator_switch, .-accrue_emulator_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl accrue_emulator_switch
.type accrue_emulator_switch, %function
accrue_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size accrue_emulator_switch, .-accrue_emulator_switch
)");
#endif

namespace accrue::emulator {

#ifdef ACCRUE_EMULATOR_UCONTEXT

Context::Context(void* stack, std::size_t bytes, void (*function)()) {
  getcontext(&state_);
  state_.uc_stack.ss_sp = stack;
  state_.uc_stack.ss_size = bytes;
  state_.uc_link = nullptr;
  makecontext(&state_, function, 0);
}

void Context::switch_to(Context& next) { swapcontext(&state_, &next.state_); }

#else

namespace {

// What the first switch to a function finds on its stack: zeros for the registers and the function's address where the
// return address (x86-64) or the link register (AArch64) is taken from. Debuggers stop at the zeros above.
#if defined(__x86_64__)
constexpr std::size_t kFrameWords = 8, kAddressWord = 6;  // six registers, the address, the function's return address
#else
constexpr std::size_t kFrameWords = 20, kAddressWord = 11;  // x30 is the twelfth of ten general and eight vector words
#endif

}  // namespace

Context::Context(void* stack, std::size_t bytes, void (*function)()) {
  const std::uintptr_t top = (reinterpret_cast<std::uintptr_t>(stack) + bytes) & ~std::uintptr_t{15};
  const std::uintptr_t frame = top - kFrameWords * sizeof(void*);
  auto* words = reinterpret_cast<void**>(frame);
  std::memset(words, 0, kFrameWords * sizeof(void*));
  words[kAddressWord] = reinterpret_cast<void*>(function);
  stack_pointer_ = words;
}

void Context::switch_to(Context& next) { accrue_emulator_switch(&stack_pointer_, next.stack_pointer_); }

#endif

}  // namespace accrue::emulator
