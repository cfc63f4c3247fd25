#include "kernels/emulator/shared_memory.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/emulator/address_sanitizer.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/shared_variables.h"

namespace accrue::emulator {
namespace {

constexpr std::size_t kAlignment = 128;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> dynamic_shared_memory;
std::size_t dynamic_shared_bytes = 0;

// A program has the variables of many kernels, and a launch uses those of one. They are known when its first block has
// run, by what it has left in them.
std::optional<std::vector<const SharedVariable*>> used_variables;

using Word = std::uint64_t __attribute__((may_alias));

// Loops instead of memset() and memchr(): what a symbol calls its variable may include AddressSanitizer's red zone.
ACCRUE_EMULATOR_NO_ADDRESS_SANITIZER void poison(const SharedVariable& variable) {
  auto* byte = static_cast<char*>(variable.begin);
  char* const end = byte + variable.bytes;
  while (byte != end && reinterpret_cast<std::uintptr_t>(byte) % sizeof(Word) != 0) *byte++ = '\xFF';
  for (; end - byte >= static_cast<std::ptrdiff_t>(sizeof(Word)); byte += sizeof(Word)) {
    *reinterpret_cast<Word*>(byte) = ~std::uint64_t{0};
  }
  while (byte != end) *byte++ = '\xFF';
}

ACCRUE_EMULATOR_NO_ADDRESS_SANITIZER bool is_poisoned(const SharedVariable& variable) {
  const auto* bytes = static_cast<const char*>(variable.begin);
  for (std::size_t i = 0; i < variable.bytes; ++i) {
    if (bytes[i] != '\xFF') return false;
  }
  return true;
}

void poison_dynamic_shared() {
  if (dynamic_shared_bytes != 0) std::memset(dynamic_shared_memory.get(), 0xFF, dynamic_shared_bytes);
}

std::vector<const SharedVariable*> find_used_variables() {
  std::vector<const SharedVariable*> used;
  for (const SharedVariable& variable : shared_variables()) {
    if (!is_poisoned(variable)) used.push_back(&variable);
  }
  return used;
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

void poison_all_shared_memory() {
  for (const SharedVariable& variable : shared_variables()) poison(variable);
  poison_dynamic_shared();
  used_variables.reset();
}

void poison_used_shared_memory() {
  if (!used_variables) used_variables = find_used_variables();
  for (const SharedVariable* variable : *used_variables) poison(*variable);
  poison_dynamic_shared();
}

}  // namespace accrue::emulator
