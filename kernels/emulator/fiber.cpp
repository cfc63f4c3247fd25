#include "kernels/emulator/fiber.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/emulator/address_sanitizer.h"

#ifdef ACCRUE_EMULATOR_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

namespace accrue::emulator {
namespace {

// Enough for kernels at -O0 under AddressSanitizer; only pages that are touched cost memory.
constexpr std::size_t kStackBytes = 256 * 1024, kGuardBytes = 4096;

// Stacks that all begin at the same offset of a page would share a few sets of the caches between a thousand fibers.
constexpr std::size_t kColours = 32, kColourBytes = 192;

std::size_t next_colour() {
  static std::size_t made = 0;
  return made++ % kColours * kColourBytes;
}

void* map_stack() {
  void* mapping = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kGuardBytes, PROT_NONE) != 0) {
    std::fprintf(stderr, "emulator: no memory for the stack of a CUDA thread: %s\n", std::strerror(errno));
    std::abort();
  }
  return mapping;
}

}  // namespace

Fiber Fiber::host_;
Fiber* Fiber::current_ = &Fiber::host_;
Fiber* Fiber::left_ = nullptr;

Fiber::Fiber(void (*body)())
    : body_(body),
      mapping_(map_stack()),
      stack_(static_cast<char*>(mapping_) + kGuardBytes),
      stack_bytes_(kStackBytes),
      context_(static_cast<char*>(mapping_) + kGuardBytes, kStackBytes - next_colour(), &Fiber::begin) {}

Fiber::~Fiber() {
  if (mapping_ != nullptr) munmap(mapping_, kGuardBytes + kStackBytes);
}

void Fiber::resume() {
  if (this == current_) return;
  left_ = current_;
  current_ = this;
#ifdef ACCRUE_EMULATOR_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&left_->fake_stack_, stack_, stack_bytes_);
#endif
  left_->context_.switch_to(context_);
  arrive();
}

void Fiber::arrive() {
#ifdef ACCRUE_EMULATOR_ADDRESS_SANITIZER
  // The bounds of the fiber that was left are known for all but the host's, whose they are noted for the way back.
  __sanitizer_finish_switch_fiber(current_->fake_stack_, &left_->stack_, &left_->stack_bytes_);
#endif
}

void Fiber::begin() {
  arrive();
  current_->body_();
  std::abort();
}

bool Fiber::contains(const void* address) const {
  const auto* low = static_cast<const char*>(stack_);
  return low <= address && address < low + stack_bytes_;
}

bool Fiber::overflowed_at(const void* address) const {
  const auto* low = static_cast<const char*>(mapping_);
  return mapping_ != nullptr && low <= address && address < low + kGuardBytes;
}

}  // namespace accrue::emulator
