#include "kernels/emulator/shared_memory.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/emulator/address_sanitizer.h"
#include "kernels/emulator/checker.h"

// The linker defines these where the program has a section of this name.
extern "C" {
extern char __start_accrue_shared[] __attribute__((weak));
extern char __stop_accrue_shared[] __attribute__((weak));
}

namespace accrue::emulator {
namespace {

constexpr std::size_t kAlignment = 128;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> dynamic_shared_memory;
std::size_t dynamic_shared_bytes = 0;

// Between the variables lie AddressSanitizer's red zones, which only an uninstrumented loop may write: memset() is
// replaced by a checking one. Words first: programs have many kilobytes of shared variables.
ACCRUE_EMULATOR_NO_ADDRESS_SANITIZER void poison_static_shared() {
  char* byte = __start_accrue_shared;
  char* const end = __stop_accrue_shared;
  using Word = std::uint64_t __attribute__((may_alias));
  while (byte != end && reinterpret_cast<std::uintptr_t>(byte) % sizeof(Word) != 0) *byte++ = '\xFF';
  for (; end - byte >= static_cast<std::ptrdiff_t>(sizeof(Word)); byte += sizeof(Word)) {
    *reinterpret_cast<Word*>(byte) = ~std::uint64_t{0};
  }
  while (byte != end) *byte++ = '\xFF';
}

}  // namespace

void* resize_dynamic_shared(std::size_t bytes) {
  if (bytes == dynamic_shared_bytes) return dynamic_shared_memory.get();
  void* memory = nullptr;
  if (bytes != 0 && posix_memalign(&memory, kAlignment, bytes) != 0) {
    std::fprintf(stderr, "emulator: no memory for %zu bytes of dynamic shared memory\n", bytes);
    std::abort();
  }
  dynamic_shared_memory.reset(memory);
  dynamic_shared_bytes = bytes;
  checker::dynamic_shared_is(memory, bytes);
  return memory;
}

Extent static_shared() {
  return {__start_accrue_shared, static_cast<std::size_t>(__stop_accrue_shared - __start_accrue_shared)};
}

void poison_shared_memory() {
  poison_static_shared();
  if (dynamic_shared_bytes != 0) std::memset(dynamic_shared_memory.get(), 0xFF, dynamic_shared_bytes);
}

}  // namespace accrue::emulator
